"""A version that a person decides over: asked once, on Prefect's page, answered there or by hand, whoever is killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.schema.evaluation import Gate
from core.workspace import Workspace
from flows.promotion import watcher
from flows.servers import servers
from registry.promotion import journal, promotion
from registry.promotion.question import Question, close, decline, questions
from registry.store import versions
from registry.store.connection import connect
from tests.prefect_server import only_schedulers, prefect_server, start_scheduler
from tests.small_model import aliases, make_small_model, trusting
from tests.test_evidence import evident, register
from tests.tiny_graph import until

pytestmark = pytest.mark.slow

BETTER = {"against_champion": Gate(at_least=0.0)}


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    with only_schedulers():
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [make_small_model(folder / str(seed), seed=seed) for seed in (1, 2, 3, 4)]


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "w").mkdir()
    return Workspace(tmp_path / "w")


@pytest.fixture
def make(models: list[Path], place: Workspace, tmp_path: Path) -> Callable[..., versions.Version]:
    """make(0, right=150) registers the first model as a version of `films`, judged by evidence like that."""

    def made(which: int, *, right: int = 190, **about: Any) -> versions.Version:
        about = {"promote": False, **about}
        approval = about.pop("approval", False)
        folder = tmp_path / f"evidence-{len(list(tmp_path.iterdir()))}"
        subject = evident(models[which], folder, place.var, "films", right=right, gates=BETTER, **about)
        return register(subject.__class__(**{**vars(subject), "approval": approval}), place.var)

    return made


def tag(place: Workspace, version: str) -> str | None:
    return connect(place.var).get_model_version("films", version).tags.get(promotion.APPROVAL)


def test_a_question_is_put_once_and_the_newest_counts(make: Callable[..., versions.Version], place: Workspace) -> None:
    make(0, promote=True)
    assert questions(place.var) == []
    first = make(1, approval=True)
    assert questions(place.var) == [Question("films", "2", first.tags[versions.EVIDENCE_HASH])]
    assert make(1, approval=True, passed=False).aliases == ()
    assert (tag(place, "2"), questions(place.var)) == ("withdrawn: its gates refuse it now", [])
    make(1, approval=True)
    assert make(2, approval=True).tags[promotion.APPROVAL] == "asked"
    assert tag(place, "2") == "superseded by version 3"
    make(1, approval=True)
    assert [question.version for question in questions(place.var)] == ["3"]
    decline("films", "3", place.var, who="Ada, in Prefect", reason="too slow")
    decline("films", "3", place.var, who="Ada, in Prefect", reason="too slow")
    close("films", "3", place.var, "nothing")
    make(2, approval=True)
    assert (tag(place, "3"), questions(place.var)) == ("rejected by Ada, in Prefect: too slow", [])
    make(3, approval=True)
    promotion.promote("films", "4", place.var, trusting)
    assert str(tag(place, "4")).startswith("promoted by ")
    moves = [entry for entry in journal.read(connect(place.var), "films").entries if entry.action != "registered"]
    assert [(entry.action, entry.to, entry.who[:3]) for entry in moves[1:2]] == [("refused", "3", "Ada")]
    assert len(moves) == 3


def runs() -> dict[str, Any]:
    """Requests by name, those of this test's model."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter
    from prefect.client.schemas.sorting import FlowRunSort

    flows = FlowFilter.model_validate({"name": {"any_": ["headrace-approval"]}})
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_filter=flows, sort=FlowRunSort.NAME_ASC, limit=200)
    return {run.name: run for run in found}


def state(version: str) -> str:
    time.sleep(0.3)  # the server has other work
    run = runs().get(f"films version {version}: champion?")
    return f"{run.state.type.value} {run.state.name}" if run else "none"


def answer(version: str, **said: str) -> str:
    """As Prefect's page sends it."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        result = client.resume_flow_run(runs()[f"films version {version}: champion?"].id, run_input=said)
    return str(result.status.value)


@pytest.fixture
def prefect(place: Workspace) -> Iterator[None]:
    """The suite's server, without the requests of the tests before."""
    with servers.prefect_settings(place, prefect_server()):
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            for run in runs().values():
                client.delete_flow_run(run.id)
        yield


@pytest.mark.usefixtures("prefect")
def test_evidence_has_the_last_word_and_other_answers_close_the_request(
    make: Callable[..., versions.Version], place: Workspace
) -> None:
    make(0, right=150, promote=True)
    make(1, right=150, approval=True)  # as good as the champion
    said = list[str]()
    with watcher.watching(place, said.append):
        until(lambda: state("2") == "PAUSED Paused")
        assert answer("2", reason="no decision") == "REJECT"
        assert answer("2", decision="approve", who="Ada") == "ACCEPT"
        until(lambda: state("2") == "FAILED Refused")
        make(2, approval=True)
        until(lambda: state("3") == "PAUSED Paused")
        promotion.promote("films", "3", place.var, trusting)
        until(lambda: state("3") == "CANCELLED Cancelled")
        make(3, approval=True)
        until(lambda: state("4") == "PAUSED Paused")
        cancel("4")
        until(lambda: str(tag(place, "4")).startswith("rejected"))
    assert "approved by Ada, in Prefect, and refused: films/2 is not promoted" in str(tag(place, "2"))
    assert tag(place, "4") == "rejected by somebody, in Prefect: ended as Cancelled"
    (refused, *_) = (e for e in journal.read(connect(place.var), "films").entries if e.action == "refused")
    assert refused.who == "Ada, in Prefect"
    assert "TIE  against_champion" in refused.why[0]
    assert aliases("films", place.var)["champion"] == "3"
    assert not [line for line in said if "does not answer" in line]


def cancel(version: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(runs()[f"films version {version}: champion?"].id, Cancelled())


@contextmanager
def scheduler(place: Workspace) -> Iterator[subprocess.Popen[str]]:
    """`headrace schedule` with nothing live; killed at the end."""
    process = start_scheduler(place.root)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("prefect")
def test_a_request_outlives_its_scheduler_is_rejected_and_the_next_one_approved(
    make: Callable[..., versions.Version], place: Workspace
) -> None:
    (place.root / "params.yaml").write_text('{"recipes": {}, "indexes": {}}')
    make(0, right=150, promote=True)
    make(1, right=190, approval=True)
    with scheduler(place):
        until(lambda: state("2") == "PAUSED Paused", timeout_s=120)
    run = runs()["films version 2: champion?"]
    page, artifact = shown(run.id)
    assert "May films version 2 be champion in place of version 1?" in page
    assert "| accuracy | 0.9500 |" in page
    assert '"predictions":' in artifact and artifact.startswith("# films")
    assert answer("2", decision="reject", reason="too slow", who="Ada") == "ACCEPT"
    with scheduler(place):
        until(lambda: state("2") == "COMPLETED Rejected", timeout_s=120)
        assert tag(place, "2") == "rejected by Ada, in Prefect: too slow"
        make(2, right=190, approval=True)
        until(lambda: state("3") == "PAUSED Paused")
        make(3, right=195, approval=True)
        until(lambda: (state("3"), state("4")) == ("CANCELLED Cancelled", "PAUSED Paused"))
        assert answer("4", decision="approve", reason="reads well") == "ACCEPT"
        until(lambda: state("4") == "COMPLETED Approved")
    assert aliases("films", place.var)["champion"] == "4"
    moves = [e for e in journal.read(connect(place.var), "films").entries if e.action != "registered"]
    assert [(e.action, e.to) for e in moves] == [("promoted", "1"), ("refused", "2"), ("promoted", "4")]
    assert (moves[1].who, moves[1].why[0]) == ("Ada, in Prefect", "rejected by Ada, in Prefect: too slow")
    assert (moves[2].who, moves[2].why[0]) == (
        "somebody, in Prefect", "approved by somebody, in Prefect: reads well",
    )  # fmt: skip


def shown(run_id: Any) -> tuple[str, str]:
    """What stands at the question, and in the run's artifact."""
    from prefect.client.orchestration import get_client
    from prefect.input import read_flow_run_input

    wanted = {"artifacts": {"flow_run_id": {"any_": [str(run_id)]}}}
    with get_client(sync_client=True) as client:
        (artifact,) = client.request("POST", "/artifacts/filter", json=wanted).json()
    return str(read_flow_run_input("approval-description", flow_run_id=run_id)), str(artifact["data"])
