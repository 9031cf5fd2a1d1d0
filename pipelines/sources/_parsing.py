"""Documents are parsed, and tables among them read, in a process of their own, one after the other.

A parser that crashes, loops or asks for gigabytes because of a hostile document ends this process: that document is
told, a new process takes the next one. It gets a path and gives back text or rows; it starts nothing and asks no
network. Only a table has more than one answer: some rows each, and at its end none.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import BadData, BadRequest, HeadraceError
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record
from pipelines.sources._opening import MAX_CHARS, MOST_TIMES, document, most_unpacked
from pipelines.sources.parsers import Parsed, Unreadable

MAX_SECONDS = 60  # of processor time, for one document, or some rows of a table
MAX_MEMORY_BYTES = 2 * 2**30  # of the process, libraries included
MAX_FILE_BYTES = 256 * 2**20
_ANSWER_CHARS = 2**20  # of rows in an answer, roughly
_MOST_CALLS = 6_000  # in each other: old pages nest some hundred tags that nobody closed
_ROW_CHARS = 100  # of a row, beside its text: a bomb may be of rows without any
_GIB = MAX_MEMORY_BYTES // 2**30
# Allocators that take their memory when they need it: others ask for more than the limit before the first row.
_LEAN = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
_CODE = Path(__file__).parents[2]


class Parsers:
    """The process, started when the first document needs it. remove_boilerplate: of pages (core/schema/data.py)."""

    def __init__(self, seconds: int = MAX_SECONDS, *, remove_boilerplate: bool = False) -> None:
        self._seconds, self._remove_boilerplate = seconds, remove_boilerplate
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Parsers:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._kill()
        self._end()

    def parse(self, name: str, path: Path, encoding: str) -> Parsed:
        """The text of a document; name: of the format. Raises Unreadable."""
        self._ask(name, os.fsdecode(path.resolve()), encoding, self._remove_boilerplate)
        return Parsed(**self._answer())

    def rows(self, found: Found, folder: Path, data: Data, notes: list[str]) -> Iterator[Record]:
        """The rows of a table of a folder. Raises Unreadable, perhaps behind some of them.

        data: its encoding and delimiter are the table's. notes: gains what is to be said of how it was read.
        """
        told = (str(folder.absolute()), data.delimiter)
        self._ask(found.name, os.fsdecode(found.path.absolute()), data.encoding, *told)
        try:
            while rows := (answer := self._answer())["rows"]:
                yield from (Record(**row) for row in rows)
            notes += answer["notes"]
        except Unreadable:
            raise
        except BaseException:
            self._kill()
            raise

    def _ask(self, *said: str | bool | None) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "pipelines.sources._parsing", str(self._seconds)],
                cwd=_CODE, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **_LEAN},
            )  # fmt: skip
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # of one that has ended
            self._process.stdin.write(json.dumps(said) + "\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise Unreadable(self._ending(self._end()))
        said: dict[str, Any] = json.loads(answer)
        if "fault" in said:
            raise Unreadable(said["fault"])
        return said

    def _kill(self) -> None:
        """End it: nobody wants what it has yet to say."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def _end(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(BrokenPipeError):
            process.communicate()  # an end of its input ends it
        return process.wait()

    def _ending(self, code: int) -> str:
        if code >= 0:  # a library that is missing, a mistake of ours: no document did that
            raise HeadraceError(f"the process that parses documents ended by itself (exit {code}); see above.")
        if code == -signal.SIGPROF:
            return f"takes more than {self._seconds} s of processor time to parse"
        return f"the parser broke down over it ({signal.Signals(-code).name}; it may use {_GIB} GiB of memory)"


def parse(name: str, path: Path, encoding: str, *, remove_boilerplate: bool = False) -> Parsed:
    """One document, in this process. Raises Unreadable."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise Unreadable(f"a file of {size:,} bytes; at most {MAX_FILE_BYTES:,} are parsed")
    if not size:
        raise Unreadable("the file is empty")
    if name == "markdown":
        return _markdown(path, encoding)
    content = path.read_bytes()
    if name == "html":
        from pipelines.sources.parsers import html

        found = html.parse(content, encoding, remove_boilerplate=remove_boilerplate)
    elif name == "docx":
        from pipelines.sources.parsers import docx

        found = docx.parse(content)
    else:
        from pipelines.sources.parsers import pdf

        found = pdf.parse(content)
    if len(found.text) > MAX_CHARS:
        raise Unreadable(f"longer than {MAX_CHARS:,} characters")
    return found


def _markdown(path: Path, encoding: str) -> Parsed:
    from pipelines.sources.parsers import markdown

    text, fault = document(path, encoding)
    if text is None or fault:
        raise Unreadable(fault or "cannot be read")
    if "\0" in text:
        raise Unreadable("holds NUL: a binary file that no parser here reads")
    return markdown.of_text(text)


def table(found: Found, folder: Path, data: Data, notes: list[str]) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table, in this process: some at a time. Raises Unreadable, BadData, BadRequest."""
    from pipelines.sources.readers._rows import rows_of

    most, some, size, told = most_unpacked(found.path), list[dict[str, Any]](), 0, 0
    for record in rows_of(found, Files(folder), data, notes):
        some.append(vars(record))
        size += _ROW_CHARS + len(record.values["text"] or "") + len(record.raw or "")
        if size > most:
            raise Unreadable(f"unpacks to more than {MOST_TIMES} times its size. It looks like a bomb: split it if not")
        if size - told >= _ANSWER_CHARS:
            yield some
            some, told = [], size
    if some:
        yield some


def _answers(line: str) -> Iterator[str]:
    name, path, encoding, *more = json.loads(line)
    try:
        if more and isinstance(more[0], str):  # the folder of a table
            folder, delimiter = more
            data, notes = Data(source=name, encoding=encoding, delimiter=delimiter), list[str]()
            for rows in table(Found(name, Path(path)), Path(folder), data, notes):
                yield json.dumps({"rows": rows})
            yield json.dumps({"rows": [], "notes": notes})
        else:
            yield json.dumps(vars(parse(name, Path(path), encoding, remove_boilerplate=more == [True])))
        return
    except ImportError:
        raise
    except (BadData, BadRequest, Unreadable) as error:
        fault = str(error)
    except MemoryError:
        fault = f"needs more than {_GIB} GiB of memory to parse"
    except RecursionError:
        fault = "nested too deeply"
    except Exception as error:  # noqa: BLE001  of a hostile document, a library raises whatever it likes
        fault = f"cannot be parsed as {name} ({type(error).__name__}: {str(error)[:200]})"
    yield json.dumps({"fault": fault})


def main(seconds: int) -> None:
    """Answer the lines of standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.setrecursionlimit(_MOST_CALLS)
    for line in sys.stdin:
        found = _answers(line)
        while (said := _timed(found, seconds)) is not None:
            answers.write(said + "\n")
            answers.flush()


def _timed(found: Iterator[str], seconds: int) -> str | None:
    signal.setitimer(signal.ITIMER_PROF, seconds)  # by default its signal ends a process, in whatever code it is
    said = next(found, None)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return said


if __name__ == "__main__":
    main(int(sys.argv[1]))
