"""A version away from home: it loads and answers where this project is not installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd
import pytest

from core.errors import BadRequest
from core.tables.task import Predictions
from pipelines.tasks import find_task, task_files
from registry.store import versions
from registry.store.connection import exclusive, tracking_uri
from registry.version import register_version
from registry.version.answerer import About, Answerer
from registry.version.packing import ROOT, code_files, holds_own_code, requirements
from registry.version.predict import Loaded
from tests.small_model import TEXTS, candidate, make_small_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/ and a store in var/ that has registered it as films."""
    folder = tmp_path_factory.mktemp("served")
    model = make_small_model(folder)
    (folder / "evidence").mkdir()
    with exclusive(folder / "var"):
        register_version.register(candidate(model, folder / "evidence"), folder / "var")
    return folder


def test_other_code_in_a_packed_model_is_noticed(home: Path, tmp_path: Path) -> None:
    """Before it is tried: what is tried is run."""
    [version] = versions.versions("films", home / "var")
    packed = tmp_path / "packed"
    shutil.copytree(versions.packed_folder(version, home / "var"), packed)
    assert holds_own_code(packed, "text_classification")
    assert not holds_own_code(packed, "image_classification")
    for file in ("pyfunc.py", "code/pipelines/task.py", "code/pipelines/more.py", "MLmodel"):
        before = (packed / file).read_bytes() if (packed / file).exists() else None
        edited = (before or b"").replace(b"loaders.code_model", b"model")
        (packed / file).write_bytes(edited if edited != before else (before or b"") + b"\nimport os\n")
        assert not holds_own_code(packed, "text_classification"), file
        if before is None:
            (packed / file).unlink()
        else:
            (packed / file).write_bytes(before)
    assert holds_own_code(packed, "text_classification")


@pytest.fixture
def abroad(home: Path, tmp_path: Path) -> Mapping[str, str]:
    """The environment of a machine that knows the store and not this project; pickles are refused."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {
        **environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": tracking_uri(home / "var"),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@pytest.fixture(scope="module")
def expected(home: Path) -> list[dict[str, Any]]:
    """What the task itself says about TEXTS."""
    predictor = find_task("text_classification").load(home / "model")
    answers = predictor.answers(predictor.predict(pd.DataFrame({"text": TEXTS})))
    rows: list[dict[str, Any]] = json.loads(answers.to_json(orient="records", double_precision=15))
    return rows


def assert_same(answers: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in expected]
    assert [answer["confidence"] for answer in answers] == pytest.approx([e["confidence"] for e in expected], abs=1e-6)


@pytest.mark.slow
def test_it_loads_in_a_fresh_process_elsewhere(
    abroad: Mapping[str, str], expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    code = (
        "import sys, json, mlflow, pandas\n"
        "assert not any(name.split('.')[0] in ('core', 'pipelines', 'registry') for name in sys.modules)\n"
        "model = mlflow.pyfunc.load_model('models:/films@champion')\n"
        "answers = model.predict(pandas.DataFrame({'text': json.loads(sys.argv[1])}))\n"
        "import pipelines\n"
        "names = [column.name for column in model.metadata.get_output_schema().inputs]\n"
        "example = model.input_example.to_dict('list')\n"
        "print(json.dumps([answers.to_dict('records'), pipelines.__path__[0], names, example]))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, json.dumps(TEXTS)],
        cwd=tmp_path, env=abroad, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers, code_folder, names, example = json.loads(done.stdout.splitlines()[-1])
    assert_same(answers, expected)
    assert not code_folder.startswith(str(ROOT))
    assert names == ["label", "confidence"]
    assert example == {"text": TEXTS}


@pytest.mark.slow
def test_mlflow_serves_it(abroad: Mapping[str, str], expected: list[dict[str, Any]], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    command = ["mlflow", "models", "serve", "-m", "models:/films@champion", "--env-manager", "local", "-p", port]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=abroad, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(f"{address}/ping", process, tmp_path / "log")
        body = json.dumps({"dataframe_records": [{"text": text} for text in TEXTS]}).encode()
        request = Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as response:
            assert_same(json.load(response)["predictions"], expected)
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=60)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(360):
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize("task", sorted(task_files()))
def test_the_code_of_every_task_is_packed_whole_and_no_stage_with_it(task: str) -> None:
    names = {path.relative_to(ROOT).as_posix() for path in code_files(task)}
    assert {task_files()[task].relative_to(ROOT).as_posix(), "core/tables/task.py", "core/schema/columns.py"} <= names
    assert not names & {"pipelines/train/train.py", "pipelines/settings/settings.py", "pipelines/register/register.py"}
    assert {name for name in names if name.startswith(("registry", "flows"))} == {
        "registry/store/server_bases.py", "registry/version/answerer.py",
    }  # fmt: skip


def test_requirements_are_pinned_as_installed() -> None:
    from importlib.metadata import version

    lines = requirements(code_files("text_classification"))
    assert f"mlflow=={version('mlflow')}" in lines
    assert f"scikit-learn=={version('scikit-learn')}" in lines
    assert f"transformers=={version('transformers')}" in lines
    assert any(line.startswith("torch==") and "+" not in line for line in lines)
    assert lines == sorted(lines, key=str.lower)


class ByteCounter:
    """A predictor of media that answers with the size of each file."""

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        assert media is not None
        return {"bytes": np.array([(media / path).stat().st_size for path in rows["path"]])}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return pd.DataFrame({"bytes": predictions["bytes"]})


def test_media_come_as_a_path_or_in_base64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    monkeypatch.chdir(tmp_path)
    encoded = base64.b64encode(b"123").decode()
    answerer = Answerer(
        About("image_classification", ("path",), "image"), find_task("image_classification").contract, ByteCounter()
    )
    inputs = ["a.png", str(tmp_path / "a.png"), encoded, f"data:image/png;base64,{encoded}"]
    assert answerer.answer(pd.DataFrame({"path": inputs}), local_files=True)["bytes"].tolist() == [5, 5, 3, 3]
    longer_than_a_file_name = base64.b64encode(bytes(1000)).decode()
    assert answerer.answer(pd.DataFrame({"path": [longer_than_a_file_name]}), local_files=True)["bytes"].tolist() == [
        1000
    ]


def test_a_caller_from_elsewhere_names_no_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answerer = Answerer(
        About("image_classification", ("path",), "image"), find_task("image_classification").contract, ByteCounter()
    )
    for name in ("a.png", "abcd"):  # the second one is base64 too: of three bytes
        (tmp_path / name).write_bytes(b"12345")
    for named in ("a.png", str(tmp_path / "a.png"), "file:///etc/passwd", "/etc/passwd", "é"):
        with pytest.raises(BadRequest, match="input 1: not base64 of a file"):
            answerer.answer(pd.DataFrame({"path": [named]}), local_files=False)
    assert answerer.answer(pd.DataFrame({"path": ["abcd"]}), local_files=False)["bytes"].tolist() == [3]
    assert answerer.answer(pd.DataFrame({"path": ["abcd"]}), local_files=True)["bytes"].tolist() == [5]


class Seeds:
    """Answers with what it was sent."""

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        return {name: rows[name].to_numpy() for name in rows.columns}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return pd.DataFrame(dict(predictions)).astype(object).where(lambda frame: frame.notna(), None)


def test_a_mere_text_stands_for_the_only_column_that_must_be_sent(home: Path) -> None:
    [version] = versions.versions("films", home / "var")
    contract = find_task("image_generation").contract
    answerer = Answerer(About("image_generation", ("label", "seed"), None), contract, Seeds())
    asked: list[str | dict[str, str]] = ["9", {"label": "8", "seed": "b"}]
    said = Loaded(version, answerer).answer(asked, local_files=False)
    assert said.rows == [{"label": "9", "seed": None}, {"label": "8", "seed": "b"}]
    both = Answerer(About("sentence_embedding", ("query", "passage"), None), contract, Seeds())
    with pytest.raises(BadRequest, match="input 1: must be an object with query, passage, got a text"):
        Loaded(version, both).answer(["9"], local_files=False)


def test_what_is_no_input_is_named(home: Path) -> None:
    media = Answerer(
        About("image_classification", ("path",), "image"), find_task("image_classification").contract, ByteCounter()
    )
    with pytest.raises(BadRequest, match=r"input 1: neither a file .* nor base64: 'no such file\.png'"):
        media.answer(pd.DataFrame({"path": ["no such file.png"]}), local_files=True)
    texts = Answerer(
        About("text_classification", ("text",), None),
        find_task("text_classification").contract,
        find_task("text_classification").load(home / "model"),
    )
    with pytest.raises(BadRequest, match="no column 'text'; it has body"):
        texts.answer(pd.DataFrame({"body": ["x"]}), local_files=True)
    with pytest.raises(BadRequest, match="input 2, column 'text': must be a string, got nan"):
        texts.answer(pd.DataFrame({"text": ["x", float("nan")]}, dtype=object), local_files=True)
