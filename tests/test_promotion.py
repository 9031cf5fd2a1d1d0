"""A version's life by the commands that people type: champion, moved in MLflow, rolled back, traced, made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.workspace import Workspace as Place
from flows.promotion import watcher
from registry.promotion import journal
from registry.promotion.ledger import champion
from registry.store import ledger_runs, versions
from registry.store.connection import connect
from tests.conftest import TINY_RECIPE, Workspace, make_tiny
from tests.prefect_server import with_server
from tests.tiny_graph import until

pytestmark = pytest.mark.slow

GATED = TINY_RECIPE + "gates: {accuracy: {at_least: 0.4}}\nregistry: {promote: manual}\n"
REFUSED = GATED.replace("at_least: 0.4", "at_least: 0.999")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Two versions whose gates passed, the second with a recipe that asks for approval, and a third whose gate refused;
    nobody is champion. A remote holds the data.
    """
    made = make_tiny(tmp_path_factory.mktemp("promotion") / "workspace")
    made.env |= with_server()
    made.dvc("remote", "add", "-q", "-d", "store", str(made.root.parent / "store"))
    made.dvc("config", "core.autostage", "false")
    made.git("add", "-A")
    made.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "tiny")
    asking = GATED.replace("epochs: 1", "epochs: 2").replace("promote: manual", "promote: approval")
    for recipe, code in ((GATED, 0), (asking, 0), (REFUSED + "", 4)):
        seed = "seed: 3, " if recipe == REFUSED else ""
        made.write("recipes/tiny.yaml", recipe.replace("training: {", f"training: {{{seed}"))
        done = made.headrace("run", "tiny")
        assert done.returncode == code, done.stdout + done.stderr
        assert ("a person decides whether it is champion" in done.stdout) == (recipe == asking)
    assert made.dvc("push", "-q").returncode == 0
    yield made
    made.headrace("stop")


def told(lived: Workspace, *command: str) -> Any:
    done = lived.headrace(*command, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def alias(lived: Workspace) -> str | None:
    return versions.raw_champion(connect(lived.path("var")), "tiny")


def approval(lived: Workspace, version: str) -> str:
    return connect(lived.path("var")).get_model_version("tiny", version).tags["approval"]


def test_promoted_by_hand_refused_forced_and_rolled_back(lived: Workspace) -> None:
    assert told(lived, "promote", "tiny", "1") == {"model": "tiny", "from": None, "to": "1"}
    assert approval(lived, "2") == "asked"
    assert "approval  version 2: a person decides" in lived.headrace("status").stdout
    assert told(lived, "promote", "tiny", "2")["from"] == "1"
    assert approval(lived, "2").startswith("promoted by ")
    refused = lived.headrace("promote", "tiny", "3")
    assert refused.returncode == 4
    assert "tiny/3 is not promoted:\n  FAILED  accuracy" in refused.stderr
    assert "--force REASON" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert alias(lived) == "2"
    assert told(lived, "promote", "tiny", "3", "--force", "the others leak names")["to"] == "3"
    assert alias(lived) == "3"
    refused = lived.headrace("rollback", "tiny")
    assert refused.returncode == 4
    assert "tiny/2, the champion before, is not what its gates ask for today:\n  FAILED  accuracy: " in refused.stderr
    assert "bound at least 0.999" in refused.stderr and "`headrace rollback tiny --force REASON`" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert alias(lived) == "3"
    against = REFUSED.replace("accuracy: {at_least: 0.999}", "against_champion: {at_least: 0.5}")
    lived.write("recipes/tiny.yaml", against)  # the champion that is left is no rival
    assert told(lived, "rollback", "tiny") == {"model": "tiny", "from": "3", "to": "2"}
    lived.write("recipes/tiny.yaml", REFUSED)
    assert told(lived, "promote", "tiny", "3", "--force", "for a test")["to"] == "3"
    assert told(lived, "rollback", "tiny", "--force", "3 answers nobody")["to"] == "2"
    assert alias(lived) == "2"
    entries = told(lived, "history", "tiny")["entries"]
    moves = [(e["action"], e["before"], e["to"]) for e in entries if e["action"] != "registered"]
    assert moves == [
        ("promoted", None, "1"), ("promoted", "1", "2"), ("refused", "2", "3"), ("promoted", "2", "3"),
        ("refused", "3", "2"), ("rolled back", "3", "2"), ("promoted", "2", "3"), ("rolled back", "3", "2"),
    ]  # fmt: skip
    at = entries[-1]["at"]
    assert told(lived, "history", "tiny", "--at", at)["champion"] == "2"
    assert told(lived, "history", "tiny", "--at", "2020-01-01")["champion"] is None
    history = lived.headrace("history", "tiny").stdout
    assert "FORCED: the others leak names" in history and "FORCED: 3 answers nobody" in history
    empty = lived.headrace("promote", "tiny", "3", "--force", " ")
    assert (empty.returncode, "needs the reason" in empty.stderr) == (2, True)


def test_moved_in_mlflow_it_is_judged_within_seconds(lived: Workspace) -> None:
    place, said = Place(lived.root), list[str]()
    client = connect(place.var)
    before = champion(journal.read(client, "tiny").entries)
    other = "1" if before == "2" else "2"
    with watcher.watching(place, said.append):
        client.set_registered_model_alias("tiny", "champion", "3")
        until(lambda: alias(lived) == before, timeout_s=60)  # MLflow's and Prefect's clients are loaded first
        client.set_registered_model_alias("tiny", "champion", other)
        until(lambda: champion(journal.read(client, "tiny").entries) == other, timeout_s=10)
    assert alias(lived) == other
    assert f"it is back at {before}: FAILED  accuracy" in "\n".join(said)
    assert f"version {other} was made champion in MLflow; its evidence allows it" in "\n".join(said)
    assert "FAILED  accuracy" in client.get_model_version("tiny", "3").tags["promotion_refused"]


def test_a_ledger_that_somebody_edited_is_found_and_stops_promotions(lived: Workspace) -> None:
    client = connect(lived.path("var"))
    experiment = client.get_experiment_by_name(ledger_runs.EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`ledger.number` = '2'")
    text = runs[0].data.tags["ledger.entry"]
    assert lived.headrace("history", "tiny", "--verify").returncode == 0
    client.set_tag(runs[0].info.run_id, "ledger.entry", text.replace('"action": "', '"action": "x'))
    try:
        verified = lived.headrace("history", "tiny", "--verify")
        assert verified.returncode == 3
        assert "FAULT: entry 2 was altered" in verified.stdout
        stopped = lived.headrace("predict", "tiny", "a moving film")
        assert stopped.returncode == 3
        assert "the ledger of tiny is not whole: entry 2 was altered" in stopped.stderr
        assert told(lived, "predict", "tiny/1", "a moving film")["version"] == "1"
    finally:
        client.set_tag(runs[0].info.run_id, "ledger.entry", text)
    assert lived.headrace("predict", "tiny", "a moving film").returncode == 0


def test_lineage_hashes_everything_again_and_names_what_rotted(lived: Workspace) -> None:
    found = told(lived, "lineage", "tiny/1")
    states = {node["id"]: node["state"] for node in found["nodes"]}
    assert found["faults"] == []
    assert {kind for node in found["nodes"] for kind in [node["kind"]]} == {
        "version", "evidence", "run", "stage", "data", "source", "code",
    }  # fmt: skip
    assert states["tiny/1"] == states["evidence"] == states["data/models/tiny/raw"] == "verified"
    drawn = lived.headrace("lineage", "tiny/1", "--svg", "lineage.svg")
    assert drawn.returncode == 0
    assert lived.path("lineage.svg").read_text().count("<rect") == len(found["nodes"])
    out = next(node for node in found["nodes"] if node["id"] == "data/models/tiny/prepared")
    cached = lived.path(".dvc/cache/files/md5", out["hash"][:2], out["hash"][2:])
    rows = next(entry for entry in json.loads(cached.read_text()) if entry["relpath"] == "rows.parquet")["md5"]
    with flipped(lived.path(".dvc/cache/files/md5", rows[:2], rows[2:])):
        rotten = lived.headrace("lineage", "tiny/1")
        assert rotten.returncode == 1
        assert "MISMATCH: data data/models/tiny/prepared: object" in rotten.stdout
    weights = versions.packed_folder(versions.resolve("tiny", "1", lived.path("var")), lived.path("var"))
    with flipped(weights / versions.MODEL_FILES / "model.safetensors"):
        assert "MISMATCH: version tiny version 1" in lived.headrace("lineage", "tiny/1").stdout
    for version in ("tiny/1", "tiny/3"):  # an old one, and the one whose outputs stand in the workspace
        assert lived.headrace("lineage", version).returncode == 0


class flipped:
    """A file with one bit flipped while the block runs."""

    def __init__(self, file: Path) -> None:
        self.file, self.content = file, file.read_bytes()

    def __enter__(self) -> None:
        self.file.chmod(0o644)
        changed = bytearray(self.content)
        changed[len(changed) // 2] ^= 1
        self.file.write_bytes(changed)

    def __exit__(self, *_: object) -> None:
        self.file.write_bytes(self.content)


def test_lineage_goes_forward_too(lived: Workspace) -> None:
    from pandas import read_parquet

    three = [("tiny", "3"), ("tiny", "2"), ("tiny", "1")]
    found = told(lived, "lineage", "--source", "rows.csv")["found"]
    assert [(each["name"], each["version"]) for each in found] == three
    row = read_parquet(lived.path("data/models/tiny/prepared/rows.parquet"))["row_id"][0]
    assert len(told(lived, "lineage", "--row", row)["found"]) == 3
    assert told(lived, "lineage", "--row", "nobody")["found"] == []
    assert told(lived, "lineage", "--base", "bert-base-uncased")["found"] == []
    asked = lived.headrace("lineage")
    assert (asked.returncode, "name a MODEL" in asked.stderr) == (2, True)


def test_a_version_is_made_again_from_an_empty_cache_and_a_remote(lived: Workspace) -> None:
    cache = lived.path(".dvc/cache")
    cache.rename(cache.with_name("cache-away"))
    try:
        asked = lived.headrace("reproduce", "tiny/1")  # its recipe was in no commit
        assert (asked.returncode, "+gates: {accuracy" in asked.stderr) == (2, True), asked.stderr
        done = lived.headrace("reproduce", "tiny/1", "--apply-patch")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "tiny/1 was made again: equal, weights and metrics" in done.stdout
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        cache.with_name("cache-away").rename(cache)
    assert [version.version for version in versions.versions("tiny", lived.path("var"))] == ["3", "2", "1"]
    unknown = lived.headrace("reproduce", "tiny/9")
    assert (unknown.returncode, "no version '9'" in unknown.stderr) == (2, True)
