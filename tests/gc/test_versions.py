"""Which versions stay and why; a freed version says so wherever it is asked, and comes back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from core.errors import BadRequest
from flows.graph.git_refs import LockText, bases, oids
from flows.lineage.reproduce import reproduce
from registry.cleanup import needed as garbage
from registry.cleanup.needed import Held, needed
from registry.promotion import promotion
from registry.store import versions
from registry.store.connection import connect
from registry.store.overview import receipt_holds
from tests.gc.world import DAY_S, MODEL, World, free, loads
from tests.small_model import TEXTS, ask, trusting

OLD = Held("films", "1", "m-1", made=0.0, models=frozenset({"a" * 32}))


@pytest.mark.parametrize(
    ("held", "because"),
    [
        (OLD, None),
        (replace(OLD, aliases=["staging"]), "@staging points at it"),
        (replace(OLD, was_champion=True), "it was champion: rollback and history name it"),
        (replace(OLD, ledger_whole=False), "its ledger is not whole: what was champion cannot be known"),
        (replace(OLD, newest=True), "the newest version"),
        (replace(OLD, ours=False), "Headrace did not register it"),
        (replace(OLD, models=None), "what it was made of was not kept with it"),
        (replace(OLD, models=frozenset({"b" * 32})), "branch main names its model"),
        (replace(OLD, name="base"), "the workspace: recipes/x.lock"),
        (replace(OLD, name="torn"), "tag v1: recipes/y.lock"),
        (replace(OLD, made=DAY_S), "made in the last 24 hours"),
    ],
)
def test_why_a_version_stays(held: Held, because: str | None) -> None:
    named = {"b" * 32: "branch main", "c" * 32: "tag v1"}
    based: dict[garbage.Base, str] = {
        ("base", "1"): "the workspace: recipes/x.lock", ("torn", None): "tag v1: recipes/y.lock",
        ("films", "2"): "another one",
    }  # fmt: skip
    found = needed([held], named=named, based=based, now=1.5 * DAY_S, spared_s=DAY_S)
    assert found == ({held.called: because} if because else {})


def test_what_a_needed_version_was_trained_from_stays_and_what_that_was_trained_from() -> None:
    def trained(name: str, base: str | None, **about: object) -> Held:
        bases = frozenset({(base, "1")}) if base else frozenset()
        return replace(OLD, name=name, model_id=f"m-{name}", bases=bases, **about)  # type: ignore[arg-type]

    held = [
        trained("grandmother", None), trained("mother", "grandmother"), trained("child", "mother", newest=True),
        trained("aunt", "grandmother"), replace(trained("twin", None), model_id="m-mother"),
    ]  # fmt: skip
    found = needed(held, named={}, based={}, now=DAY_S, spared_s=0)
    assert found == {
        "child/1": "the newest version",
        "mother/1": "child/1 was trained from it",
        "grandmother/1": "mother/1 was trained from it",
        "twin/1": "it is the same files as mother/1",
    }


def test_which_versions_lock_files_name() -> None:
    lock = (
        "bases:\n  models:/films@champion: {sha256: aa, version: '3'}\n  models:/films/1: {sha256: aa, version: null}\n"
    )
    other = "bases: {bert-base-uncased: {sha256: aa, version: 86b5e0934494bd15}}\n"
    torn = "<<<<<<< HEAD\nbases:\n  models:/cats@champion:\n    sha256: 'x\n"
    texts = [
        LockText("here", "recipes/a.lock", lock.encode()), LockText("tag v1", "indexes/b.lock", torn.encode()),
        LockText("here", "recipes/c.lock", other.encode()), LockText("here", "dvc.lock", b"models:/dogs@champion"),
    ]  # fmt: skip
    here = "here: recipes/a.lock"
    assert bases(texts) == {("films", "3"): here, ("films", "1"): here, ("cats", None): "tag v1: indexes/b.lock"}


def test_hashes_are_found_in_whatever_names_them() -> None:
    file, folder = "0123456789abcdef" * 2, "fedcba9876543210" * 2 + ".dir"
    text = f"outs:\n- md5: '{file}'\n- md5: {folder}\n  sha256: {'ab' * 32}\n<<<<<<<\n".encode()
    assert oids(text) == {file, folder}


@pytest.mark.slow
def test_which_versions_went(lived: World) -> None:
    assert {version for version in "12345" if loads(lived, version)} == {"2", "3", "5"}
    assert free(lived) == []
    var = lived.var
    first = versions.resolve(MODEL, "1", var)
    assert first.tags["gate"] == "passed"
    assert versions.evidence(first, "dvc-lock.json", var) is not None
    assert connect(var).get_model_version(MODEL, "1").description == "# films\n"


@pytest.mark.slow
def test_a_freed_version_becomes_no_challenger(world: World) -> None:
    for which in (0, 1):
        world.train(which)
    free(world)
    assert not loads(world, "1")
    world.train(1, passed=False)
    assert all(not version.aliases for version in versions.versions(MODEL, world.var))


def test_a_freed_version_says_so_wherever_it_is_asked(lived: World) -> None:
    words = rf"the files of {MODEL}/1 were freed by `headrace gc` on 20.*registering the same model again brings them"
    with pytest.raises(BadRequest, match=words):
        ask(MODEL, TEXTS, lived.var, trusting, "1")
    for forced in (None, "it must be"):
        with pytest.raises(BadRequest, match=words):
            promotion.promote(MODEL, "1", lived.var, trusting, forced=forced)
    connect(lived.var).set_registered_model_alias(MODEL, "champion", "1")
    settled = promotion.settle(MODEL, lived.var, trusting)
    assert settled is not None
    assert (settled.accepted, settled.champion) == (False, "3")
    assert "were freed by `headrace gc`" in settled.why[0]
    model_hash = versions.resolve(MODEL, "1", lived.var).model_hash
    paper = {"model": MODEL, "version": "1", "model_hash": model_hash, "server": "embedded"}
    assert receipt_holds({**paper, "aliases": []}, lived.var) == f"the files of {MODEL}/1 were freed by `headrace gc`"
    with pytest.raises(BadRequest, match=r"has no recipe\.yaml"):  # as far as this world goes: it is not `gone`
        reproduce(lived.workspace, MODEL, "1")


def test_lineage_of_a_freed_version_names_what_happened(lived: World) -> None:
    from flows.lineage.trace import trace

    found = trace(lived.workspace, MODEL, "1")
    (top,) = [node for node in found.nodes if node.kind == "version"]
    assert top.state == "missing"
    assert "were freed by `headrace gc`" in top.why


def test_lineage_of_adapters_whose_base_is_kept_though_its_reference_is_gone(lived: World) -> None:
    from flows.lineage.trace import trace

    gone = {"./start": {"sha256": "5" * 64, "version": None}}
    version = lived.register(4, bases=gone)
    found = {node.id: node for node in trace(lived.workspace, MODEL, version.version).nodes}
    assert found["base ./start"].state == "moved"
    assert "no folder" in found["base ./start"].why
    lived.register(4, bases={"./start": {"sha256": "6" * 64, "version": None}})
    found = {node.id: node for node in trace(lived.workspace, MODEL, version.version).nodes}
    assert found["base ./start"].state == "missing"


def test_a_rolled_back_champion_is_there(lived: World) -> None:
    assert promotion.rollback(MODEL, lived.var, trusting).version.version == "2"
    assert ask(MODEL, TEXTS, lived.var, trusting).version.version == "2"
    promotion.promote(MODEL, "3", lived.var, trusting)


@pytest.mark.slow
def test_registered_again_it_is_back(world: World) -> None:
    for which in range(2):
        world.train(which)
    client = connect(world.var)
    free(world)
    assert not loads(world, "1")
    again = world.train(0)
    assert (again.version, versions.FREED in again.tags) == ("1", False)
    assert loads(world, "1")
    assert free(world) == []  # the workspace's dvc.lock names it
    assert ask(MODEL, TEXTS, world.var, trusting, "1").version.version == "1"
    assert len(client.search_model_versions(f"name='{MODEL}'")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("place", ["indexes/other.lock", "data/indexes/other/published.json", "trained"])
def test_a_base_of_something_that_is_there_stays(world: World, place: str) -> None:
    identity = {"sha256": "aa", "version": "1"}
    world.train(0)
    world.train(1)
    if place == "trained":  # the third version from the first; the second from nothing
        world.train(2, bases={f"models:/{MODEL}@champion": identity})
    elif place.endswith(".lock"):
        world.write(place, json.dumps({"source": {}, "bases": {f"models:/{MODEL}@champion": identity}}))
    else:
        embedder = {"reference": f"models:/{MODEL}@champion", "identity": identity}
        world.write(place, json.dumps({"index": "other", "version": "0" * 16, "embedder": embedder}))
    free(world)
    assert loads(world, "1")
    assert loads(world, "2") == (place != "trained")
    if place != "trained":
        (world.root / place).unlink()
        free(world)
        assert not loads(world, "1")
