"""The hostile corpus against the real commands: no payload runs, nothing is written elsewhere, each is named."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import BadRequest
from tests.conftest import TINY_RECIPE, Workspace, film_rows, make_tiny
from tests.faults import hostile
from tests.faults.hostile import Case


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_tiny(tmp_path_factory.mktemp("hostile") / "workspace")


@pytest.fixture
def marker(place: Workspace) -> Iterator[Path]:
    """The file that a payload would write; and nothing else may appear beside the workspace either."""
    (place.root.parent / "outside").mkdir(exist_ok=True)
    before = _beside(place)
    yield place.root.parent / "marker"
    assert _beside(place) - before <= {Path("outside/secret.csv")}


def _beside(place: Workspace) -> set[Path]:
    parent = place.root.parent
    files = (path.relative_to(parent) for path in parent.rglob("*") if not path.is_relative_to(place.root))
    return {file for file in files if file.parts[0] != "outside" or file.suffix != ".csv"}


def checked(place: Workspace, cases: Iterable[Case]) -> None:
    """One `headrace check` over all their files: each is refused in the words that it should be."""
    listed = list(cases)
    files = {f"hostile/{number:02}.yaml": case for number, case in enumerate(listed)}
    for file, case in files.items():
        place.write(file, case.recipe)
    done = place.headrace("check", *files, "--json")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    found = json.loads(done.stdout)["findings"]
    for file, case in files.items():
        said = " ".join(f"{each['place']}: {each['message']}" for each in found if each["place"].startswith(file))
        assert said, f"{case.name}: nothing was found"
        assert all(part in said for part in case.says), f"{case.name}: {said[:1000]}"


@pytest.mark.slow
def test_the_payloads_are_alive(marker: Path, tmp_path: Path) -> None:
    """Or the tests below would show nothing."""
    import joblib  # type: ignore[import-untyped]
    import numpy as np
    import torch

    alive = tmp_path / "alive"
    file = tmp_path / "file"
    readers: dict[str, Any] = {
        ".pt": lambda: torch.load(file, weights_only=False),
        ".pkl": lambda: pickle.loads(file.read_bytes()),
        ".joblib": lambda: joblib.load(file),
        ".npy": lambda: np.load(file, allow_pickle=True),
    }
    for suffix, read in readers.items():
        file.write_bytes(hostile.pickled(alive, suffix))
        read()
        assert alive.exists(), suffix
        alive.unlink()
    file.with_suffix(".py").write_text(hostile.code(alive))
    exec(file.with_suffix(".py").read_text())
    assert alive.exists()


@pytest.mark.slow
def test_base_models(place: Workspace, marker: Path) -> None:
    cases = list(hostile.bases(place, marker))
    assert len(cases) >= 16
    checked(place, cases)


@pytest.mark.slow
def test_settings_files(place: Workspace, marker: Path) -> None:
    cases = [*hostile.settings(marker), *hostile.references()]
    assert len(cases) >= 20
    checked(place, cases)


@pytest.mark.slow
def test_sources(place: Workspace, marker: Path) -> None:
    checked(place, hostile.sources(place))


@pytest.mark.slow
def test_secrets_in_settings_files(place: Workspace) -> None:
    password = "hunter2-and-more"
    cases = list(hostile.secrets(password))
    checked(place, cases)
    for verb in (("check", "hostile/00.yaml"), ("new", "x", "--from", "hostile/00.yaml")):
        done = place.headrace(*verb)
        assert done.returncode == 2 and password not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("headrace", "new", "../../x", "--from", "recipes/tiny.yaml"), "'../../x' cannot be a name"),
        (("headrace", "new", "a;b", "--from", "recipes/tiny.yaml"), "'a;b' cannot be a name"),
        (("headrace", "query", "../../x", "why?"), "'../../x' cannot be a name"),
        (("headrace", "run", "../../x"), "no live recipe '../../x'"),
        (("headrace", "predict", "../../x", "text"), "'..' cannot be a model's name"),
        (("headrace", "predict", "x' or name like 'y", "text"), "cannot be a model's name"),
        (("stage", "collect", "../../x"), "'../../x' cannot be a name"),
        (("stage", "settings", "tiny\nx"), "'tiny\\nx' cannot be a name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_names_on_the_command_line(place: Workspace, marker: Path, command: tuple[str, ...], says: str) -> None:
    kind, *words = command
    done = place.headrace(*words) if kind == "headrace" else place.stage(words[0], words[1])
    assert (done.returncode, says in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


@pytest.mark.slow
def test_a_live_name_that_a_shell_would_run(place: Workspace, marker: Path) -> None:
    """DVC puts the name into a command line."""
    before = place.path("params.yaml").read_text()
    place.live(recipes={f"x; touch {marker}; :": {"task": "text_classification", "watch": "rows.csv"}})
    for verb in ("run", "status", "check"):
        done = place.headrace(verb)
        assert done.returncode == 2 and "params.yaml:" in done.stderr and "cannot be a name" in done.stderr, done.stderr
    place.path("params.yaml").write_text(before)


def collected(place: Workspace, recipe: str) -> subprocess.CompletedProcess[str]:
    """settings and collect of a recipe, by the stages' own commands; the first that fails ends it."""
    place.write("recipes/tried.yaml", recipe)
    place.write("recipes/tried.lock", "source: {kind: path}\nbases: {}\n")
    done = place.stage("settings", "tried")
    return done if done.returncode else place.stage("collect", "tried")


def refused(place: Workspace, recipe: str, *says: str, code: int = 2) -> None:
    done = collected(place, recipe)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    assert all(part in done.stderr for part in says), done.stderr


def faults(place: Workspace, recipe: str) -> list[str]:
    """What collect says is wrong with the rows."""
    done = collected(place, recipe)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(place.path("data/models/tried/raw/examples.parquet"))
    return [fault for fault in rows["fault"].to_pylist() if fault]


@pytest.mark.slow
def test_a_link_that_leads_out_stops_the_first_stage(place: Workspace, marker: Path) -> None:
    outside = place.root.parent / "outside"
    (outside / "secret.csv").write_text("text,label\na secret,pos\n")
    folder = place.path("tried-links")
    folder.mkdir()
    (folder / "secret.csv").symlink_to(outside / "secret.csv")
    recipe = hostile.on_source("tried-links", "\n  reader: csv")
    refused(place, recipe, "tried-links/secret.csv", "leads out of its source")
    place.path("named.csv").symlink_to(outside / "secret.csv")  # what the recipe names may be a link
    assert collected(place, hostile.on_source("named.csv")).returncode == 0


@pytest.mark.slow
def test_a_gzip_bomb(place: Workspace, marker: Path) -> None:
    hostile.bomb_gz(place.path("bomb.csv.gz"), b"x" * 1024, megabytes=80)
    assert place.path("bomb.csv.gz").stat().st_size < 100_000
    refused(place, hostile.on_source("bomb.csv.gz"), "bomb.csv.gz", "more than 200 times its size")


@pytest.mark.slow
def test_a_gzip_bomb_of_rows(tmp_path: Path) -> None:
    """What lies near the limit is read to its end."""
    from pipelines.sources._files import Found
    from pipelines.sources._opening import open_binary

    for megabytes, rule in ((60, None), (70, "more than 200 times its size")):
        hostile.bomb_gz(tmp_path / "rows.csv.gz", b"a fair line of text,pos\n", megabytes)
        with contextlib.ExitStack() as stack:
            if rule:
                stack.enter_context(pytest.raises(BadRequest, match=rule))
            file = stack.enter_context(open_binary(Found("rows.csv.gz", tmp_path / "rows.csv.gz")))
            assert sum(len(line) for line in file) > 59 * 2**20


@pytest.mark.slow
def test_parquet_that_lies(place: Workspace, marker: Path) -> None:
    hostile.extension_parquet(place.path("typed.parquet"), marker)
    assert faults(place, hostile.on_source("typed.parquet")) == []
    bad = pa.array([b"\xff\xfe"] * 4).view(pa.string())
    pq.write_table(pa.table({"text": bad, "label": ["a"] * 4}), place.path("bytes.parquet"))
    found = faults(place, hostile.on_source("bytes.parquet"))
    assert len(found) == 4 and all(fault.startswith("text: cannot be read") for fault in found), found
    far = pa.table({"text": ["a"], "label": ["b"], "when": pa.array([2**62], pa.timestamp("us"))})
    pq.write_table(far, place.path("far.parquet"))
    assert faults(place, hostile.on_source("far.parquet")) == []


@pytest.mark.slow
def test_rows_that_nest_and_text_that_looks_like_code(place: Workspace, marker: Path) -> None:
    deep = "[" * 500 + "]" * 500
    rows = [{"text": f"=cmd|'/c touch {marker}'!A0 {n}", "label": "pos", "x": json.loads(deep)} for n in range(3)]
    lines = [json.dumps(row) for row in rows]
    lines += ['{"text": ' + "[" * 100_000, "\\x00\x00", '{"text": ' + "9" * 5000 + "}"]
    place.write("nested.jsonl", "\n".join(lines) + "\n")
    found = faults(place, hostile.on_source("nested.jsonl"))
    assert len(found) == 3 and all("not JSON" in fault for fault in found), found
    table = pq.read_table(place.path("data/models/tried/raw/examples.parquet"))
    assert [text for text in table["text"].to_pylist() if text] == [row["text"] for row in rows]  # as it stands there


PICTURES = """\
task: image_classification
data: {source: album, reader: labelled_folders}
model: {base: {architecture: resnet}, method: pretrain}
"""


@pytest.mark.slow
def test_pictures(place: Workspace, marker: Path) -> None:
    album = place.path("album", "a")
    album.mkdir(parents=True)
    bombs = {"bomb.png": hostile.bomb_png(9000), "promise.png": hostile.promising_png(60_000)}
    lies = {"script.png": hostile.eps(marker), "pickle.png": hostile.pickled(marker, ".pkl")}
    for name, content in {**bombs, **lies}.items():
        (album / name).write_bytes(content)
    (album / "new\nline.png").write_bytes(b"none")
    found = sorted(faults(place, PICTURES))
    assert len(found) == 5
    assert [fault for fault in found if "81,000,000 pixels" in fault]
    assert [fault for fault in found if "decompression bomb" in fault or "3,600,000,000 pixels" in fault]
    assert len([fault for fault in found if "not a picture" in fault]) == 3


@pytest.mark.parametrize("name", ["bomb.png", "promise.png", "script.eps", "script.png"])
def test_pictures_that_a_model_is_asked_about(marker: Path, tmp_path: Path, name: str) -> None:
    """`headrace predict` has no `collect` before it."""
    from pipelines.tasks.parts.pictures.picture_input import Picture, pixels

    content = hostile.bomb_png(9000) if name == "bomb.png" else hostile.promising_png(60_000)
    (tmp_path / name).write_bytes(hostile.eps(marker) if name.startswith("script") else content)
    with pytest.raises(BadRequest, match=rf"{name}: no picture that can be decoded"):
        pixels([name], tmp_path, Picture(8, "rgb"))


@pytest.mark.slow
def test_lock_files(place: Workspace) -> None:
    """NAME.lock is committed, so anybody may have written it."""
    call = '!!python/object/apply:builtins.open ["x", "w"]'
    for lock, says in (
        (f"source: {{kind: {call}}}\nbases: {{}}\n", "only plain YAML"),
        ("source: {kind: path}\nbases: {x: {sha256: a, version: ../../x}}\n", "bases.x.version"),
    ):
        place.write("recipes/locked.yaml", TINY_RECIPE)
        place.write("recipes/locked.lock", lock)
        done = place.stage("settings", "locked")
        assert done.returncode == 2 and "locked.lock:" in done.stderr and says in done.stderr, done.stderr


def test_inputs_of_predict(tmp_path: Path) -> None:
    import io

    from flows.terminal.inputs import read_inputs
    from pipelines.sources._opening import MAX_CHARS

    (tmp_path / "a.jsonl").write_text("[" * 100_000 + "\n")
    (tmp_path / "b.csv").write_text("text\n" + "x" * (MAX_CHARS + 1) + "\n")
    for name, says in (("a.jsonl", "a.jsonl:1: not JSON"), ("b.csv", "b.csv:2: not CSV")):
        with pytest.raises(BadRequest, match=re.escape(says)):
            read_inputs([str(tmp_path / name)], columns=["text"], media=False, stdin=io.StringIO())


@pytest.mark.slow
def test_rows_are_left_for_others(place: Workspace) -> None:
    """The workspace that all this was tried in still works."""
    assert len(film_rows(240)) == 240
    done = place.headrace("check", "tiny")
    assert done.returncode == 0, done.stderr
