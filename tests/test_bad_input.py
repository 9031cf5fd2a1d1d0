"""Bad input as a user meets it: the exit code, one message that says what to do, nothing lost, and what is good again
is taken without cleaning. Stages are run alone; that both drivers pass their code and words on is shown once a code."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import random
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.conftest import TINY_RECIPE, Workspace, film_rows, make_workspace
from tests.prefect_server import with_server

pytestmark = pytest.mark.slow

DRIVERS = ("dvc", "headrace")
PICTURES = """\
title: pictures
task: image_classification
data: {source: pictures, reader: labelled_folders, split: {train: 0.6, validation: 0.2, test: 0.2}}
contract: {at_most: 0.0, min_rows_per_label: 2}
model:
  base:
    architecture: resnet
    settings: {num_channels: 1, embedding_size: 8, hidden_sizes: [8], depths: [1], layer_type: basic}
  method: pretrain
training: {epochs: 1, batch_size: 16}
evaluation: {resamples: 100}
compute: {threads: 1}
"""


@dataclass(frozen=True)
class Case:
    """One way of being wrong. `says`: parts of the message; `then`: the stage that must not run any more."""

    name: str
    spoil: Callable[[Workspace], None]
    code: int
    says: tuple[str, ...]
    recipe: str = "tiny"

    def __str__(self) -> str:
        return self.name


BASE = TINY_RECIPE[TINY_RECIPE.index("base:") : TINY_RECIPE.index("\ntraining:")]


def with_recipe(old: str, new: str) -> Callable[[Workspace], None]:
    def spoil(workspace: Workspace) -> None:
        assert old in TINY_RECIPE
        workspace.write("recipes/tiny.yaml", TINY_RECIPE.replace(old, new))

    return spoil


def with_rows(change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Callable[[Workspace], None]:
    return lambda workspace: void(workspace.write_rows(change(film_rows(240))))


def void(_: object) -> None:
    return None


def mostly_without_text(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**row, "text": "" if number % 4 else row["text"]} for number, row in enumerate(rows)]


def with_bytes(change: Callable[[bytes], bytes], *, at_most: str = "0.05") -> Callable[[Workspace], None]:
    def spoil(workspace: Workspace) -> None:
        file = workspace.path("rows.csv")
        file.write_bytes(change(file.read_bytes()))
        workspace.write("recipes/tiny.yaml", TINY_RECIPE.replace("at_most: 0.05", f"at_most: {at_most}"))

    return spoil


def truncated_parquet(workspace: Workspace) -> None:
    whole = workspace.path("whole.parquet")
    pd.DataFrame(film_rows(240)).to_parquet(whole)
    workspace.path("rows.csv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    workspace.write("recipes/tiny.yaml", TINY_RECIPE.replace("source: rows.csv", "source: rows.csv\n  reader: parquet"))


def not_a_picture(workspace: Workspace) -> None:
    workspace.path("pictures/dark/3.png").write_bytes(b"GIF89a this is none")


def wrong_checksum(workspace: Workspace) -> None:
    port = workspace.path("port").read_text()
    source = f"source: http://127.0.0.1:{port}/rows.csv\n  sha256: {'ab' * 32}"
    workspace.write("recipes/tiny.yaml", TINY_RECIPE.replace("source: rows.csv", source))
    workspace.write("recipes/tiny.lock", f"source: {{kind: http, sha256: {'ab' * 32}}}\nbases: {{}}\n")


CASES = [
    Case("missing column", with_recipe("label: label}", "label: sentiment}"), 2, ("rows.csv", "sentiment", "label")),
    Case("empty file", with_bytes(lambda _: b""), 3, ("rows.csv", "empty")),
    Case(
        "wrong encoding",
        with_bytes(lambda old: old.replace(b"the film", "die Größe".encode("latin-1"))),
        3,
        ("rows.csv:", "UTF-8"),
    ),
    Case(
        "a label seen once",
        with_rows(lambda rows: [*rows, {"text": "an odd one out", "label": "rare"}]),
        3,
        ("rare", "1 "),
    ),
    Case("no row left", with_rows(lambda rows: [{**row, "text": " "} for row in rows]), 3, ("240",)),
    Case("NaN", with_rows(mostly_without_text), 3, ("180",)),
    Case("a line of 50 MB", with_bytes(lambda old: old + b"x" * 50_000_000 + b",pos\n", at_most="0.0"), 3,
         ("rows.csv:242",)),
    Case("ragged rows", with_bytes(lambda old: old + b"one,two,three,four\n", at_most="0.0"), 3, ("rows.csv:242",)),
    Case("truncated Parquet", truncated_parquet, 2, ("rows.csv", "Parquet")),
    Case("an HTML page", with_bytes(lambda _: b"<!DOCTYPE html><html><body>404 not found</body></html>\n"), 2,
         ("rows.csv", "HTML")),
    Case("checksum", wrong_checksum, 2, ("sha256", "abab")),
    Case("a picture that is none", not_a_picture, 3, ("3.png",), "pictures"),
    Case("no such base", with_recipe(BASE, "base: ./no-such-base\n  method: full"), 2, ("no-such-base",)),
    Case("unknown key", with_recipe("epochs: 1", "epocs: 1"), 2, ("recipes/tiny.yaml:14", "epocs", "epochs")),
    Case("rank of 0", with_recipe("method: pretrain", "method: lora\n  lora: {rank: 0}"), 2, ("lora.rank", "1", "0")),
    Case("gate on an unknown metric", with_recipe("compute:", "gates: {bleu: {at_least: 1}}\ncompute:"), 2,
         ("recipes/tiny.yaml:16", "bleu", "accuracy")),
]  # fmt: skip


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """One workspace with two live recipes that have run well once."""
    made = make_workspace(tmp_path_factory.mktemp("bad") / "workspace")
    made.env |= with_server()
    handler = functools.partial(Quiet, directory=str(made.root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.write("port", str(server.server_port))
    good_input(made)
    done = made.headrace("run", "tiny", "pictures")
    assert done.returncode == 0, done.stdout + done.stderr
    yield made
    made.headrace("stop")
    server.shutdown()


def good_input(workspace: Workspace) -> None:
    workspace.write_rows(film_rows(240))
    for name, text in (("tiny", TINY_RECIPE), ("pictures", PICTURES)):
        workspace.write(f"recipes/{name}.yaml", text)
        workspace.write(f"recipes/{name}.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    draw = random.Random(7)
    for label, shade in (("dark", 40), ("light", 200)):
        for number in range(30):
            file = workspace.path("pictures", label, f"{number}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.new("L", (8, 8), shade)
            picture.putpixel((number % 8, number // 8), draw.randrange(256))
            picture.save(file)
    workspace.live(
        recipes={
            "tiny": {"task": "text_classification", "watch": "rows.csv"},
            "pictures": {"task": "image_classification", "watch": "pictures"},
        }
    )


def last_good(workspace: Workspace, recipe: str) -> dict[str, str]:
    """What must survive: the model, its evaluation and its receipt."""
    hashes = workspace.hashes(f"data/models/{recipe}")
    return {
        path: sha for path, sha in hashes.items() if path.split("/")[0] in {"model", "evaluation", "registered.json"}
    }


def drive(workspace: Workspace, driver: str, recipe: str) -> subprocess.CompletedProcess[str]:
    if driver == "dvc":
        return workspace.dvc("repro", f"register@{recipe}")
    return workspace.headrace("run", recipe)


FIRST = {code: next(case for case in CASES if case.code == code) for code in sorted({case.code for case in CASES})}
UP_TO_TRAINING = ("settings", "collect", "validate", "preprocess")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_stage_stops_what_is_bad_and_takes_what_is_good_again(bench: Workspace, case: Case) -> None:
    before = last_good(bench, case.recipe)
    try:
        case.spoil(bench)
        done = up_to_training(bench, case.recipe)
        assert done.returncode == case.code, done.stdout + done.stderr
        check(done, case)
        assert last_good(bench, case.recipe) == before
    finally:
        good_input(bench)
    again = up_to_training(bench, case.recipe)
    assert again.returncode == 0, again.stdout + again.stderr


def up_to_training(workspace: Workspace, recipe: str) -> subprocess.CompletedProcess[str]:
    """The stages in their order, as a driver runs them; the first that fails, or the last."""
    for stage in UP_TO_TRAINING:
        done = workspace.stage(stage, recipe)
        if done.returncode:
            break
    return done


@pytest.mark.parametrize("case", FIRST.values(), ids=str)
def test_both_drivers_pass_on_what_a_stage_says(bench: Workspace, case: Case) -> None:
    before = last_good(bench, case.recipe)
    try:
        case.spoil(bench)
        for driver in DRIVERS:
            done = drive(bench, driver, case.recipe)
            if driver == "dvc":
                assert done.returncode != 0
                assert f"(exit {case.code})" in done.stdout + done.stderr
            else:
                assert done.returncode == case.code, done.stdout + done.stderr
            check(done, case)
            assert last_good(bench, case.recipe) == before
    finally:
        good_input(bench)
    again = drive(bench, driver, case.recipe)
    assert again.returncode == 0, again.stdout + again.stderr
    assert last_good(bench, case.recipe) == before


def check(done: subprocess.CompletedProcess[str], case: Case) -> None:
    said = done.stdout + done.stderr
    for part in case.says:
        assert part in said, said
    assert "Traceback" not in said


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Put the folder on a file system of its own. Needs the right to mount."""
    kept = folder.with_name(folder.name + ".kept")
    shutil.copytree(folder, kept)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size * 2 + 4_000_000}", "tmpfs", folder], check=True)
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield
    finally:
        shutil.rmtree(kept)
        shutil.copytree(folder, kept)
        subprocess.run(["umount", folder], check=True)
        shutil.rmtree(folder)
        kept.rename(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount the small file system that this needs")
@pytest.mark.parametrize(
    ("fault", "driver"), [("full disk", "headrace"), ("full disk", "dvc"), ("read-only folder", "headrace")]
)
def test_nowhere_to_write(bench: Workspace, fault: str, driver: str) -> None:
    before = last_good(bench, "tiny")
    folder = bench.path("data/models/tiny")
    with small_disk(folder):
        filler = folder / "filler"
        if fault == "full disk":
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(b"0" * 4096):
                    pass
        else:
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        bench.write_rows(film_rows(300))
        done = drive(bench, driver, "tiny")
        if fault == "full disk":
            filler.unlink()
        else:
            subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        said = done.stdout + done.stderr
        assert done.returncode in ((1,) if driver == "headrace" else range(1, 256)), said
        if fault == "full disk" or driver == "headrace":  # on a read-only folder DVC itself stops first, in its words
            assert "cannot write" in said, said
        assert re.search(r"No space left|Read-only file system", said), said
        assert str(folder) in said, said
        assert "Traceback" not in said
        assert last_good(bench, "tiny") == before
        good_input(bench)
        again = drive(bench, driver, "tiny")
        assert again.returncode == 0, again.stdout + again.stderr
    assert last_good(bench, "tiny") == before
