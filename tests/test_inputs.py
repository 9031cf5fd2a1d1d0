"""What `headrace predict` takes for an input."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from core.errors import BadData, BadRequest
from flows.terminal.inputs import Input, read_inputs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(*arguments: str, media: bool = False, stdin: str = "") -> list[Input]:
    return read_inputs(arguments, columns=["text"], media=media, stdin=io.StringIO(stdin))


def test_texts_stdin_and_files_in_their_order(here: Path) -> None:
    (here / "a.txt").write_text("one\n\ntwo\r\n")
    (here / "b.csv").write_text('label,text\nx,"three, and more"\n')
    (here / "c.jsonl").write_text('{"text": "four"}\n\n{"text": "five", "label": 1}\n')
    (here / "d").write_text("six\n")
    assert read("zero", "a.txt", "b.csv", "c.jsonl", "@d", "-", stdin="seven\n") == [
        "zero", "one", "two", "three, and more", "four", "five", "six", "seven",
    ]  # fmt: skip
    assert read(stdin="a\nb") == ["a", "b"]
    assert read("I read it in notes.txt") == ["I read it in notes.txt"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"body,label\nx,y\n", r"a\.csv:1: no column 'text'\. It has: body, label"),
        ("a.jsonl", b'{"text": "x"}\n{"body": "y"}\n', r"a\.jsonl:2: it has no text under 'text'"),
        ("a.jsonl", b"{\n", r"a\.jsonl:1: not JSON"),
        ("a.csv", b"text\nwell, and done\n", r"a\.csv:2: 2 fields where the header has 1"),
        ("a.csv", b'text\n"open\nand\n', r"a\.csv:2: not CSV: .*\(up to line 3\)"),
        ("a.csv", b"", r"a\.csv: the file is empty"),
        ("a.csv", None, r"a\.csv: cannot be read \(No such file"),
        ("a.txt", b"\xff\xfe\n", r"a\.txt: not UTF-8"),
        ("a.txt", None, r"a\.txt: cannot be read \(No such file"),
    ],
)
def test_files_that_cannot_be_read(here: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (here / name).write_bytes(content)
    with pytest.raises((BadRequest, BadData), match=message):
        read(name)


def test_a_model_of_pictures_takes_paths(here: Path) -> None:
    (here / "a.png").write_bytes(b"x")
    (here / "list.txt").write_text("a.png\n")
    assert read("a.png", "list.txt", media=True) == ["a.png", "a.png"]
    with pytest.raises(BadRequest, match=r"b\.png: no such file\. This model takes paths"):
        read("a.png", "b.png", media=True)


def test_several_columns_come_as_objects_or_as_the_text_of_the_only_one_that_must_be() -> None:
    def both(*arguments: str, plain: bool) -> list[Input]:
        stdin = io.StringIO()
        return read_inputs(arguments, columns=["label", "seed"], media=False, stdin=stdin, plain=plain)

    assert both("9", '{"label": "8", "seed": "b"}', plain=True) == ["9", {"label": "8", "seed": "b"}]
    with pytest.raises(BadRequest, match="takes objects in JSON"):
        both("9", plain=False)


def test_a_column_that_is_no_text_takes_objects(tmp_path: Path) -> None:
    """A series is a list of numbers: an object in JSON, or a row of a file that can hold lists."""
    file = tmp_path / "series.jsonl"
    file.write_text('{"value": [1.5, 2.5]}\n')
    given = ['{"value": [3.5]}', str(file)]
    found = read_inputs(given, columns=["value"], media=False, stdin=io.StringIO(), plain=False)
    assert found == [{"value": [3.5]}, {"value": [1.5, 2.5]}]
    with pytest.raises(BadRequest, match="this model takes objects in JSON"):
        read_inputs(["1.5"], columns=["value"], media=False, stdin=io.StringIO(), plain=False)
