"""The registry over a real MLflow store: one version a model, aliases that people may move, and honest receipts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadRequest, Outage
from flows.forget.redact import redact
from flows.forget.row_copies import Traces
from registry.cleanup.forgotten_rows import scrub_served
from registry.promotion import journal, promotion
from registry.store import versions
from registry.store.connection import connect, database, exclusive
from registry.store.overview import receipt_holds
from registry.store.tracking import Dataset, training_run
from registry.version import evidence_files, register_version
from registry.version.runs import Candidate
from tests.conftest import ROOT
from tests.faults.mlflow_server import Server
from tests.small_model import TEXTS, aliases, ask, candidate, make_small_model, trusting
from tests.warm import warm

Make = Callable[..., Candidate]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of different weights."""
    folder = tmp_path_factory.mktemp("models")
    return [make_small_model(folder / str(seed), seed=seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "profile.json").write_text(json.dumps({"rows": 96}))
    (folder / "plots").mkdir()
    (folder / "plots" / "confusion.png").write_bytes(b"picture")
    return folder


@pytest.fixture(scope="session")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests of this file; each registers under a name of its own."""
    return tmp_path_factory.mktemp("store") / "var"


@pytest.fixture
def make(models: list[Path], evidence: Path, request: pytest.FixtureRequest) -> Make:
    """Candidates of the test's own model: make(0), make(1, passed=False) ..."""
    name = request.node.name.replace("[", "-").replace("]", "")[:60]

    def made(which: int, **about: Any) -> Candidate:
        return replace(candidate(models[which], evidence, **about), name=name)

    return made


def register(subject: Candidate, var: Path) -> register_version.Registered:
    with exclusive(var):
        return register_version.register(subject, var)


def receipt(subject: Candidate, registered: register_version.Registered) -> dict[str, Any]:
    return {
        "model": subject.name,
        "version": registered.version.version,
        "model_hash": subject.model_hash,
        "aliases": list(registered.version.aliases),
        "experiment": False,
        "server": "embedded",
    }


def copies(var: Path, model: Path) -> list[Path]:
    """Every copy of a model's weights that the store keeps."""
    weights = (model / "model.safetensors").read_bytes()
    return [path for path in var.rglob("model.safetensors") if path.read_bytes() == weights]


def person_moves_champion(name: str, version: str, var: Path) -> None:
    """As MLflow's page does it."""
    connect(var).set_registered_model_alias(name, "champion", version)


def raw_champion(name: str, var: Path) -> str | None:
    """Where MLflow's alias stands."""
    return versions.raw_champion(connect(var), name)


def test_a_version_says_what_it_is(make: Make, var: Path, models: list[Path]) -> None:
    subject = make(0, tags={"raw_hash": "r" * 64})
    done = register(subject, var)
    found = versions.versions(subject.name, var)
    assert found == [done.version]
    assert done.version.aliases == ("challenger", "champion")
    assert done.version.tags["raw_hash"] == "r" * 64
    assert done.version.tags["gate"] == "passed"
    assert "accuracy: 0.9000, bound at least 0.8" in done.version.tags["gate_reasons"]
    entry = connect(var).get_model_version(subject.name, "1")
    assert entry.description == "# films\n"
    for name in ("profile.json", "model-card.md", "plots/confusion.png"):
        assert versions.evidence(done.version, name, var) is not None, name
    assert evidence_files.champion_profile(subject.name, var) == {"rows": 96}
    folder, number = versions.model_folder(subject.name, "champion", var)
    assert number == "1"
    assert (folder / "model.safetensors").read_bytes() == (models[0] / "model.safetensors").read_bytes()


def test_mlflows_pages_begin_with_the_title_and_end_with_hashes(make: Make, var: Path) -> None:
    """Of the model and of its run; what a person writes there stays."""
    subject = make(0, tags={"task": "text_classification", "raw_hash": "r" * 64})
    subject = replace(subject, card="# Good films?\n\nYes.\n", recipe="good")  # which has no run yet
    run = register(subject, var).version.run_id
    client = connect(var)
    about = client.get_registered_model(subject.name).description or ""
    assert about.startswith(f"Good films?\n\nMade by the recipe `{subject.recipe}`.")
    note = client.get_run(run).data.tags["mlflow.note.content"]
    assert note == f"Good films?\n\nVersion 1 of {subject.name}, gates passed: its card says more."
    tags = list(client.get_model_version(subject.name, "1").tags)
    assert tags[:2] == ["gate", "gate_reasons"] and tags[-2:] == ["raw_hash", "model_hash"], tags
    client.set_tag(run, "mlflow.note.content", "mine")
    client.update_registered_model(subject.name, "mine")
    register(subject, var)
    assert client.get_run(run).data.tags["mlflow.note.content"] == "mine"
    assert client.get_registered_model(subject.name).description == "mine"


def test_the_same_model_again_is_the_same_version(make: Make, var: Path, models: list[Path]) -> None:
    first = register(make(0), var)
    before = len(copies(var, models[0]))
    second = register(make(0, tags={"raw_hash": "other"}), var)
    assert second.version.version == first.version.version == "1"
    assert second.version.tags["raw_hash"] == "other"
    assert len(copies(var, models[0])) == before
    assert connect(var).get_run(first.version.run_id).data.metrics["test.accuracy"] == 0.9
    points = connect(var).get_metric_history(first.version.run_id, "test.accuracy")
    assert len(points) == 1


def test_weights_are_kept_once(make: Make, tmp_path: Path, models: list[Path]) -> None:
    register(make(0), tmp_path)
    assert len(copies(tmp_path, models[0])) == 1


def test_the_run_that_trained_the_model_is_its_run(make: Make, var: Path) -> None:
    subject = make(2)
    with training_run(
        var=var, recipe="films", key="k", experiment=False, params={}, tags={}, dataset=Dataset("films", "d", "s")
    ) as run:
        run.log(1, {"loss": 0.5})
        run.finish(subject.model_hash)
    assert register(subject, var).version.run_id == run.run_id


def test_a_run_is_made_from_the_history_when_the_server_has_none(make: Make, tmp_path: Path) -> None:
    done = register(make(0), tmp_path)
    client = connect(tmp_path)
    points = client.get_metric_history(done.version.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.7), (2, 0.5)]
    assert client.get_run(done.version.run_id).info.status == "FINISHED"


def test_gates_that_fail_keep_the_version_and_move_nothing(make: Make, var: Path) -> None:
    register(make(0), var)
    refused = register(make(1, passed=False, rival="1"), var)
    assert refused.version.version == "2"
    assert refused.version.aliases == ()
    assert refused.version.tags["gate"] == "failed"
    assert aliases(make(0).name, var) == {"champion": "1", "challenger": "1"}


def test_gates_lowered_later_let_the_same_version_through(make: Make, var: Path) -> None:
    register(make(0), var)
    register(make(1, passed=False, rival="1"), var)
    again = register(make(1, rival="1"), var)
    assert again.version.version == "2"
    assert again.version.aliases == ("challenger", "champion")


def test_a_champion_whose_gates_now_fail_stays_until_another_passes(make: Make, var: Path) -> None:
    register(make(0), var)
    again = register(make(0, passed=False), var)
    assert again.version.aliases == ("champion",)


def test_manual_promotion_leaves_champion_alone(make: Make, var: Path) -> None:
    assert register(make(0, promote=False), var).version.aliases == ("challenger",)


def test_registering_again_does_not_undo_what_a_person_chose(make: Make, var: Path) -> None:
    name = make(0).name
    register(make(0), var)
    register(make(1, rival="1"), var)
    assert aliases(name, var)["champion"] == "2"
    person_moves_champion(name, "1", var)
    assert promotion.settle(name, var, trusting) is not None
    register(make(1, rival="1"), var)
    assert aliases(name, var) == {"champion": "1", "challenger": "2"}
    register(make(0, rival="1"), var)
    assert aliases(name, var)["champion"] == "1"


def test_an_older_model_registered_again_does_not_take_over(make: Make, var: Path) -> None:
    name = make(0).name
    register(make(0, passed=False), var)
    register(make(1), var)
    register(make(0, rival="2"), var)
    assert aliases(name, var) == {"champion": "2", "challenger": "2"}


def test_a_champion_that_moved_meanwhile_asks_for_another_judgement(make: Make, var: Path) -> None:
    name = make(0).name
    register(make(0), var)
    stale = register(make(1, rival=None), var)
    assert stale.outdated
    assert aliases(name, var)["champion"] == "1"
    assert not register(make(1, rival="1"), var).outdated
    assert aliases(name, var)["champion"] == "2"


def test_killed_before_the_alias_the_next_registration_moves_it(
    make: Make, var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = make(0).name
    register(make(0), var)
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_move", stopped)
        with pytest.raises(KeyboardInterrupt, match="as Ctrl-C"):
            register(make(1, rival="1"), var)
    assert raw_champion(name, var) == "1"
    assert aliases(name, var)["champion"] == "2"  # it was accepted, and is what is served
    register(make(1, rival="1"), var)
    assert raw_champion(name, var) == "2"
    assert [entry.action for entry in journal.read(connect(var), name).entries] == [
        "registered", "promoted", "registered", "promoted",
    ]  # fmt: skip


def stopped(*_: object) -> None:
    raise KeyboardInterrupt("as Ctrl-C at that place would")


def test_killed_before_the_version_the_files_are_not_written_twice(
    make: Make, tmp_path: Path, models: list[Path]
) -> None:
    subject = make(0)
    register(subject, tmp_path)
    connect(tmp_path).delete_model_version(subject.name, "1")
    again = register(subject, tmp_path)
    assert again.version.version == "2"
    assert len(copies(tmp_path, models[0])) == 1


@pytest.mark.slow
def test_killed_while_copying_the_files_are_written_to_the_end(make: Make, tmp_path: Path, models: list[Path]) -> None:
    subject = make(0)
    register(subject, tmp_path)
    client = connect(tmp_path)
    client.delete_model_version(subject.name, "1")
    [weights] = copies(tmp_path, models[0])
    shutil.rmtree(weights.parent)
    again = register(subject, tmp_path)
    folder, _ = versions.model_folder(subject.name, again.version.version, tmp_path)
    assert (folder / "model.safetensors").is_file()


def test_a_registered_name_is_a_name_not_a_filter(var: Path) -> None:
    with pytest.raises(BadRequest, match="cannot be a model's name"):
        versions.resolve("x' or name != 'x", "1", var)


def test_an_unknown_version_or_alias_lists_what_there_is(make: Make, var: Path) -> None:
    subject = make(0)
    register(subject, var)
    with pytest.raises(BadRequest, match=r"no version '7'.*Versions: 1.*@champion = 1"):
        versions.resolve(subject.name, "7", var)
    with pytest.raises(BadRequest, match="no alias 'staging'"):
        versions.resolve(subject.name, "@staging", var)
    with pytest.raises(BadRequest, match=f"no model 'nobody'.*{subject.name}"):
        versions.resolve("nobody", "champion", var)


def test_promote_moves_champion_and_says_from_where(make: Make, var: Path) -> None:
    name = make(0).name
    register(make(0, promote=False), var)
    register(make(1, promote=False), var)
    assert promotion.promote(name, "1", var, trusting).before is None
    moved = promotion.promote(name, "2", var, trusting)
    assert (moved.before, moved.version.version) == ("1", "2")
    assert aliases(name, var)["champion"] == "2"
    with pytest.raises(BadRequest, match="no version '5'"):
        promotion.promote(name, "5", var, trusting)
    assert promotion.rollback(name, var, trusting).version.version == "1"
    with pytest.raises(BadRequest, match="the champion before 1 was none"):
        promotion.rollback(name, var, trusting)


def test_without_evidence_only_force_promotes_and_that_shows_for_ever(make: Make, var: Path) -> None:
    name = make(0).name
    register(make(0), var)
    register(make(1, passed=False, rival="1"), var)
    with pytest.raises(promotion.Refused, match=r"/2 is not promoted:\n  FAILED  accuracy") as raised:
        promotion.promote(name, "2", var, trusting)
    assert raised.value.exit_code == 4
    promotion.promote(name, "2", var, trusting, forced="the old one leaks names")
    assert aliases(name, var)["champion"] == "2"
    register(make(1, passed=False, rival="1"), var)  # writes the card again
    card = connect(var).get_model_version(name, "2").description or ""
    assert card.startswith("> **Promoted without evidence** on ")
    assert "the old one leaks names" in card
    entries = journal.read(connect(var), name).entries
    assert [entry.action for entry in entries][-2:] == ["refused", "promoted"]
    assert entries[-1].forced == "the old one leaks names"


def test_predict_serves_whom_people_made_champion(make: Make, var: Path) -> None:
    name = make(0).name
    register(make(0), var)
    register(make(1, rival="1"), var)
    before = ask(name, TEXTS, var, trusting)
    person_moves_champion(name, "1", var)
    after = ask(name, TEXTS, var, trusting)
    assert (before.version.version, after.version.version) == ("2", "1")
    assert [row["confidence"] for row in before.rows] != [row["confidence"] for row in after.rows]
    assert ask(name, TEXTS, var, trusting, "2").rows == before.rows
    assert set(after.rows[0]) == {"label", "confidence"}
    assert ask(name, [], var, trusting).rows == []


def test_an_alias_moved_without_evidence_goes_back(make: Make, var: Path) -> None:
    name = make(0).name
    register(make(0), var)
    register(make(1, passed=False, rival="1"), var)
    person_moves_champion(name, "2", var)
    assert aliases(name, var)["champion"] == "1"  # until it is judged, what was accepted counts
    assert ask(name, TEXTS, var, trusting).version.version == "1"
    client = connect(var)
    assert raw_champion(name, var) == "1"
    assert "FAILED  accuracy" in client.get_model_version(name, "2").tags[promotion.REFUSED]
    last = journal.read(client, name).last
    assert last is not None
    assert (last.action, last.before, last.to, last.who) == ("refused", "1", "2", "somebody, in MLflow")


def test_an_alias_that_was_removed_comes_back(make: Make, var: Path) -> None:
    name = make(0).name
    register(make(0), var)
    connect(var).delete_registered_model_alias(name, "champion")
    done = promotion.settle(name, var, trusting)
    assert done is not None
    assert (done.asked, done.champion, done.accepted) == (None, "1", False)
    assert raw_champion(name, var) == "1"
    assert promotion.settle(name, var, trusting) is None


def test_a_receipt_holds_until_the_store_loses_what_it_says(make: Make, var: Path) -> None:
    subject = make(0)
    done = register(subject, var)
    paper = receipt(subject, done)
    assert receipt_holds(paper, var) is None
    client = connect(var)
    assert "another model" in str(receipt_holds({**paper, "model_hash": "x"}, var))
    assert "is of http://mlflow" in str(receipt_holds({**paper, "server": "http://mlflow"}, var))
    assert "/9 is not in" in str(receipt_holds({**paper, "version": "9"}, var))
    client.delete_registered_model_alias(subject.name, "champion")
    assert "is @champion any more" in str(receipt_holds(paper, var))
    promotion.settle(subject.name, var, trusting)
    assert receipt_holds(paper, var) is None
    client.delete_model_version(subject.name, "1")
    assert "/1 is not in" in str(receipt_holds(paper, var))


def test_an_alias_that_a_person_moved_leaves_the_receipt_true(make: Make, var: Path) -> None:
    first = register(make(0), var)
    register(make(1, rival="1"), var)
    assert receipt_holds(receipt(make(0), first), var) is None


def test_a_receipt_without_a_store_or_of_an_experiment_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = {"model": "films", "version": "1", "model_hash": "x", "aliases": [], "experiment": False,
             "server": "embedded"}  # fmt: skip
    assert "is not in the store" in str(receipt_holds(paper, tmp_path))
    assert "experiment" in str(receipt_holds({**paper, "experiment": True}, tmp_path))
    monkeypatch.setenv("DVC_EXP_NAME", "lanky-tofu")
    assert receipt_holds({**paper, "experiment": True}, tmp_path) is None


def test_a_damaged_store_is_an_outage_not_a_lost_version(tmp_path: Path) -> None:
    paper = {"model": "films", "version": "1", "model_hash": "x", "aliases": [], "server": "embedded"}
    database(tmp_path).parent.mkdir(parents=True)
    database(tmp_path).write_bytes(b"no database" * 500)
    with pytest.raises(Outage, match=r"mlflow\.db cannot be read"):
        receipt_holds(paper, tmp_path)


@pytest.mark.slow
def test_a_server_that_is_down_is_an_outage_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    paper = {"model": "films", "version": "1", "model_hash": "x", "aliases": [], "server": "http://127.0.0.1:9"}
    started = time.monotonic()
    with pytest.raises(Outage, match=r"http://127\.0\.0\.1:9 .*does not answer") as raised:
        receipt_holds(paper, tmp_path)
    with pytest.raises(Outage, match="does not answer"):
        versions.resolve("films", "champion", tmp_path)
    assert time.monotonic() - started < 40
    assert "secret" not in str(raised.value)


@pytest.mark.slow
def test_registering_from_several_processes_makes_one_version(tmp_path: Path, models: list[Path]) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from registry.store.connection import exclusive; from registry.version import register_version\n"
        "from tests.small_model import candidate\n"
        "model, evidence, var = map(Path, sys.argv[1:])\n"
        "with exclusive(var):\n"
        "    done = register_version.register(candidate(model, evidence), var)\n"
        "print(done.version.version)"
    )
    (tmp_path / "evidence").mkdir()
    command = [sys.executable, "-c", code, str(models[0]), str(tmp_path / "evidence"), str(tmp_path / "var")]
    started = [
        subprocess.Popen(
            command, cwd=ROOT, env=warm(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=300) for process in started]
    assert [out for out, _ in said] == ["1\n"] * 3, said
    assert len(versions.versions("films", tmp_path / "var")) == 1


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real tracking server that keeps artifacts itself, as a team's would."""
    server = Server(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    yield server.url
    server.kill()


@pytest.mark.slow
def test_a_server_holds_the_same(make: Make, tmp_path: Path, server: str, models: list[Path]) -> None:
    var = tmp_path / "var"
    first = register(make(0), var)
    second = register(make(1, rival="1"), var)
    assert register(make(1, rival="2"), var).version.version == second.version.version == "2"
    assert aliases(make(0).name, var) == {"champion": "2", "challenger": "2"}
    folder, _ = versions.model_folder(make(0).name, "1", var)
    assert (folder / "model.safetensors").read_bytes() == (models[0] / "model.safetensors").read_bytes()
    assert versions.model_folder(make(0).name, "1", var)[0] == folder
    assert evidence_files.champion_profile(make(0).name, var) == {"rows": 96}
    assert versions.evidence(first.version, "nothing.json", var) is None
    assert not (var / "mlflow" / "mlflow.db").exists()
    assert receipt_holds({**receipt(make(0), first), "server": server}, var) is None
    assert versions.page_link(None, first.version) == f"{server}/#/models/{make(0).name}/versions/1"

    row = Traces(texts=frozenset({TEXTS[0]}))  # as `headrace forget` takes one out of it
    both = [versions.resolve(make(0).name, version, var) for version in ("1", "2")]
    done = list(scrub_served(both, var, lambda file: row.in_file(file) == "text", lambda file: redact(file, row)))
    examples = ("input_example.json", "serving_input_example.json")
    assert done == [(f"{make(0).name}/{version}: {name}", True) for version in "12" for name in examples]
    assert not [path for path in (tmp_path / "a").rglob("*.json") if TEXTS[0] in path.read_text()]
