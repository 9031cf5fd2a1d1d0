"""What DVC raises -> faults that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import BadRequest, HeadraceError, Outage, unwritable

_RETURNCODE = re.compile(r"exited with (-?\d+)$")
_HOLDER = re.compile(r"\(PID (\d+)\): (.*)")


class Busy(Outage):
    """Another process holds DVC's lock on files of the stage."""


class Torn(HeadraceError):
    """DVC's list of locks cannot be read."""


class CommandFailed(HeadraceError):
    """The stage's own command ended with a code other than 0."""

    def __init__(self, message: str, returncode: int) -> None:
        super().__init__(message)
        self.returncode = returncode


@contextmanager
def dvc_faults(root: Path) -> Iterator[None]:
    """Turn DVC's exceptions into ours, each with what to do."""
    from dvc.exceptions import DvcException, ReproductionError

    try:
        yield
    except DvcException as error:
        cause = error.__cause__ if isinstance(error, ReproductionError) and error.__cause__ else error
        raise _fault(cause, root) from None
    except ImportError as error:  # of a remote's kind that is not installed
        raise BadRequest(f"DVC: {error}.") from None


def _fault(cause: BaseException, root: Path) -> BaseException:
    from dvc.dependency.base import DependencyDoesNotExistError
    from dvc.exceptions import DvcException, NotDvcRepoError, OverlappingOutputPathsError
    from dvc.lock import LockError
    from dvc.parsing import ResolveError
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError
    from dvc.stage.exceptions import StageCmdFailedError, StageNotFound
    from dvc.utils.strictyaml import YAMLSyntaxError, YAMLValidationError

    wrong = (
        DependencyDoesNotExistError, NotDvcRepoError, OverlappingOutputPathsError, ResolveError, StageNotFound,
        YAMLSyntaxError, YAMLValidationError,
    )  # fmt: skip
    if isinstance(cause, StageCmdFailedError):
        code = _RETURNCODE.search(str(cause))
        return CommandFailed(str(cause), int(code[1]) if code else 1)
    if isinstance(cause, RWLockFileCorruptedError | RWLockFileFormatError):
        return Torn(f"{root}/.dvc/tmp/rwlock is torn: a process was killed while it wrote it.")
    if isinstance(cause, LockError):
        return Busy(_holder(str(cause)))
    if isinstance(cause, FileNotFoundError) and cause.filename:
        return BadRequest(f"DVC: {cause.filename} is missing. Run the stage that writes it, or put it back.")
    if isinstance(cause, OSError) and (fault := unwritable(cause, root)) is not None:
        return fault
    if isinstance(cause, DvcException | OSError):
        return (BadRequest if isinstance(cause, wrong) else HeadraceError)(f"DVC: {cause}")
    return cause


def _holder(message: str) -> str:
    holders = [f"process {pid} (`{command.strip()}`)" for pid, command in _HOLDER.findall(message)]
    path = re.match(r"'([^']+)' is busy", message)
    return f"{path[1] if path else '.dvc/tmp/lock'} is held by {', '.join(holders) or 'another DVC process'}"
