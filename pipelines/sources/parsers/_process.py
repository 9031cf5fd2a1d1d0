"""Documents are parsed in a process of their own, one after the other.

A parser that crashes, loops or asks for gigabytes because of a hostile document ends this process: that document is
told, a new process takes the next one. It gets a path and gives back text; it starts nothing and asks no network.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from core.errors import HeadraceError
from pipelines.sources.parsers import Parsed, Unreadable
from pipelines.sources.readers._open import MAX_CHARS

MAX_SECONDS = 60  # of processor time, for one document
MAX_MEMORY_BYTES = 2 * 2**30  # of the process, libraries included
MAX_FILE_BYTES = 256 * 2**20
_GIB = MAX_MEMORY_BYTES // 2**30
_CODE = Path(__file__).parents[3]


class Parsers:
    """The process, started when the first document needs it."""

    def __init__(self, seconds: int = MAX_SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Parsers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def parse(self, name: str, path: Path, encoding: str) -> Parsed:
        """The text of a document; name: of the format. Raises Unreadable."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # of one that has ended
            process.stdin.write(json.dumps([name, os.fsdecode(path.resolve()), encoding]) + "\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise Unreadable(self._ending(self._end()))
        said = json.loads(answer)
        if "fault" in said:
            raise Unreadable(said["fault"])
        return Parsed(**said)

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "pipelines.sources.parsers._process", str(self._seconds)],
            cwd=_CODE, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        return self._process

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


def parse(name: str, path: Path, encoding: str) -> Parsed:
    """One document, in this process. Raises Unreadable."""
    from pipelines.sources.parsers import docx, html, pdf

    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise Unreadable(f"a file of {size:,} bytes; at most {MAX_FILE_BYTES:,} are parsed")
    if not size:
        raise Unreadable("the file is empty")
    content = path.read_bytes()
    if name == "html":
        found = html.parse(content, encoding)
    else:
        found = docx.parse(content) if name == "docx" else pdf.parse(content)
    if len(found.text) > MAX_CHARS:
        raise Unreadable(f"longer than {MAX_CHARS:,} characters")
    return found


def _answer(line: str) -> str:
    name, path, encoding = json.loads(line)
    try:
        return json.dumps(vars(parse(name, Path(path), encoding)))
    except ImportError:
        raise
    except Unreadable as error:
        fault = str(error)
    except MemoryError:
        fault = f"needs more than {_GIB} GiB of memory to parse"
    except RecursionError:
        fault = "nested too deeply"
    except Exception as error:  # noqa: BLE001  of a hostile document, a library raises whatever it likes
        fault = f"cannot be parsed as {name} ({type(error).__name__}: {str(error)[:200]})"
    return json.dumps({"fault": fault})


def main(seconds: int) -> None:
    """Answer the lines of standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # by default its signal ends a process, in whatever code it is
        said = _answer(line)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(said + "\n")
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
