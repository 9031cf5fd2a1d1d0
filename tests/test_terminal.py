"""What is printed obeys nobody: no escape of a document, a label or a file's name reaches the terminal."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from core.errors import BadData
from core.progress import Progress
from core.terminal import guard, plain
from flows.reporting.screen import Screen
from flows.terminal.output import say, show, show_fault
from flows.terminal.passage_text import passage_lines
from flows.terminal.results import prediction_line
from pipelines.search.ask.query import Passage

ROOT = Path(__file__).parents[1]
ESCAPES = (
    "\x1b]0;TITLE\x07\x1b[2J\x1b[31mRED\x1b]8;;http://evil.example\x07link \x9b2J "
    "\u202egnp.exe\u202c \u2066x\u2069 a\rb \x08\x7f"
)
OBEYED = {*map(chr, (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)))} - {"\t", "\n"}


def obeyed(text: str) -> set[str]:
    return OBEYED & set(text)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[Terminal, Terminal]:
    """Two terminals in place of stdout and stderr, with the guard before them, as `headrace` sets it."""
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    guard()
    return out, err


def test_text_stays_and_the_rest_goes() -> None:
    assert plain("naïve\ttext\n日本語 👩‍👩‍👧 שלום") == "naïve\ttext\n日本語 👩‍👩‍👧 שלום"
    assert plain(f"a{ESCAPES}") == "a]0;TITLE[2J[31mRED]8;;http://evil.examplelink 2J gnp.exe x a b "


def test_a_passage_a_prediction_and_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = terminal(monkeypatch)
    passage = Passage(text=ESCAPES, score=1.0, document=f"open/{ESCAPES}.md", source="", heading=ESCAPES, position=0)
    show({}, [*passage_lines(1, passage), prediction_line({"label": ESCAPES, "input": ESCAPES})], as_json=False)
    show_fault(str(BadData(f"label {ESCAPES} is none")), 3, as_json=False)
    say(ESCAPES)
    sys.stderr.writelines([ESCAPES])
    out, err = (stream.getvalue() for stream in streams)
    assert out.count("RED") == 5 and err.count("RED") == 3
    assert obeyed(out + err) == set()


def test_json_says_the_same_without_a_raw_one(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = terminal(monkeypatch)
    show({ESCAPES: [ESCAPES, "日本語\n"]}, [], as_json=True)
    text = streams[0].getvalue()
    assert json.loads(text) == {ESCAPES: [ESCAPES, "日本語\n"]} and obeyed(text) == set() and "日本語" in text


def test_bars_show_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own escapes move the cursor; a file's name does not, also not by the markup of the library that draws."""
    streams = terminal(monkeypatch)
    name = f"{ESCAPES}[link=http://evil.example]x[/link]"
    with Progress(f"collect {name}", total=2, unit="rows") as progress:
        progress.advance()
        print(name, file=sys.stderr)
    with Screen(quiet=False) as screen:
        screen.started("collect@x", name)
        screen.progress("collect@x", name)
        print(name, file=sys.stderr)
    drawn = streams[1].getvalue()
    assert "\x1b[" in drawn and "[link=http://evil.example]x" in drawn
    assert "\x1b]" not in drawn and "\x1b[2J" not in drawn and "\x1b[31mRED" not in drawn
    assert not obeyed(drawn) - {"\x1b", "\r"}


def test_every_verb_and_stage_is_guarded_and_nothing_goes_around() -> None:
    """The guard stands before anything is printed; what draws on the stream behind it is listed."""
    around, behind = set(), ("Console(", "os.write(", "typer.echo(", "drawn_on(", "sys.__std", ".buffer.write(")
    for path in (
        each for top in ("core", "flows", "pipelines", "registry", "serving") for each in (ROOT / top).rglob("*.py")
    ):
        if path.name != "terminal.py" and any(way in path.read_text() for way in behind):
            around.add(path.relative_to(ROOT).as_posix())
    assert around == {"flows/reporting/screen.py", "core/progress.py"}
    for path in (ROOT / "flows/cli/command.py", ROOT / "pipelines/stage.py"):
        assert "    guard()\n" in path.read_text()
