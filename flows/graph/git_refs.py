"""What DVC's and our lock files name, in the workspace, in git's index and in every ref: nobody may free that.

Refs are branches, tags, remotes' branches, stashes, HEAD of every worktree, and DVC's experiments; their tips, as
`dvc gc -a -T` takes them. Files are searched for hashes, not parsed: a torn one names too much rather than too little.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from core.errors import BadRequest
from core.git import git, git_bytes, git_stream
from registry.cleanup.held_versions import base_of
from registry.cleanup.needed import Base

_OID = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?:\.dir)?(?![0-9a-f])")
_MODEL = re.compile(r"models:/([^/@\s'\"]+)")
_KINDS = {
    "refs/heads/": "branch ",
    "refs/tags/": "tag ",
    "refs/remotes/": "remote branch ",
    "refs/exps/": "experiment ",
}
_FORMAT = "%(refname)%00%(objecttype)%00%(objectname)%00%(*objecttype)%00%(*objectname)"


@dataclass(frozen=True)
class Object:
    """One of git's. kind: blob, tree, commit or tag."""

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class LockText:
    """A lock file's content. where: the branch, tag ... in words."""

    where: str
    path: str
    text: bytes

    @property
    def of_dvc(self) -> bool:
        return _is_dvcs(self.path)


def lock_texts(root: Path) -> list[LockText]:
    """Every lock file that counts, equal ones once.

    Raises BadRequest when git cannot say: then nobody knows what is needed.
    """
    try:
        found = [each for place in worktrees(root) for each in _of_workspace(place)]
        return [*found, *_of_git(root)]
    except BadRequest as fault:
        raise BadRequest(f"{fault}. Nothing is freed while git cannot say what it needs.") from None


def oids(text: bytes) -> set[str]:
    return {found.decode() for found in _OID.findall(text)}


def bases(texts: Iterable[LockText]) -> dict[Base, str]:
    """The registered versions that recipes and indexes name in their locks -> where."""
    found: dict[Base, str] = {}
    for each in texts:
        text = each.text.decode(errors="replace")
        if not each.of_dvc and "models:/" in text:
            for base in _bases(text):
                found.setdefault(base, f"{each.where}: {each.path}")
    return found


def _bases(text: str) -> set[Base]:
    """With a file that cannot be read: all versions of the models that it names."""
    try:
        named: Mapping[str, dict[str, str]] = YAML(typ="safe").load(text)["bases"]
        return {base for each in named.items() if (base := base_of(*each)) is not None}
    except (YAMLError, ValueError, KeyError, TypeError, AttributeError):
        return {(name, None) for name in _MODEL.findall(text)}


def _counts(path: str) -> bool:
    place = PurePosixPath(path)
    return _is_dvcs(path) or (place.suffix == ".lock" and place.parent.name in ("recipes", "indexes"))


def _is_dvcs(path: str) -> bool:
    place = PurePosixPath(path)
    return place.name == "dvc.lock" or place.suffix == ".dvc"


def _of_workspace(root: Path) -> Iterator[LockText]:
    """The files as they lie here, those of experiments that run in a copy included; git's ignored ones DVC refuses."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    copies = [path.relative_to(root).as_posix() for path in root.glob(".dvc/tmp/exps/*/dvc.lock")]
    for path in [*filter(_counts, listed.split("\0")), *copies]:
        if (file := root / path).is_file():
            yield LockText(f"the workspace {root.name}", path, file.read_bytes())


def _of_git(root: Path) -> list[LockText]:
    blobs: dict[str, tuple[str, str]] = {}
    for where, listing in _listings(root):
        for path, blob in listing:
            if _counts(path):
                blobs.setdefault(blob, (where, path))
    found = read_objects(root, list(blobs))
    if lacking := [blob for blob in blobs if blob not in found]:
        raise BadRequest(f"git lacks the object {lacking[0]}, a lock file of one of its refs (`git fsck` says more)")
    return [LockText(*blobs[blob], text) for blob, text in found.items()]


def _listings(root: Path) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    """The files (path, blob) of git's index and of every commit that a ref or a worktree stands at, and its name."""
    yield "git's index", _entries(git(root, "ls-files", "-s", "-z"), blob=1)
    for commit, where in _commits(root).items():
        yield where, _entries(git(root, "ls-tree", "-r", "-z", "--full-tree", commit), blob=2)


def _entries(listing: str, *, blob: int) -> Iterator[tuple[str, str]]:
    """`MODE [TYPE] BLOB [STAGE]<tab>PATH`, NUL behind each."""
    for line in listing.split("\0"):
        facts, _, path = line.partition("\t")
        if path and not facts.startswith("160000"):  # a submodule's commit
            yield path, facts.split(" ")[blob]


def _commits(root: Path) -> dict[str, str]:
    """Commit -> where it stands."""
    found: dict[str, str] = {}
    for line in git(root, "for-each-ref", f"--format={_FORMAT}").splitlines():
        ref, kind, name, kind_behind, name_behind = line.split("\0")
        commit = name if kind == "commit" else name_behind if kind_behind == "commit" else None
        if commit is not None:
            found.setdefault(commit, _shown(ref))
        if ref.rpartition("/")[2] == "stash":  # of git, and of DVC's queue: older ones stand in its log only
            entries = git(root, "log", "-g", "--format=%H %P", ref).splitlines()
            found.update({each: found.get(each, "a stash") for entry in entries for each in entry.split()})
    for commit in _worktree_facts(root, "HEAD"):
        if commit.strip("0"):  # a branch without a commit
            found.setdefault(commit, "HEAD")
    return found


def worktrees(root: Path) -> list[Path]:
    """This workspace, and git's other worktrees that are there: their DVC may use this cache."""
    others = [Path(place) for place in _worktree_facts(root, "worktree")]
    return [root, *(path for path in others if (path / ".git").exists() and not root.is_relative_to(path))]


def _worktree_facts(root: Path, key: str) -> list[str]:
    pairs = [line.partition(" ") for line in git(root, "worktree", "list", "--porcelain").splitlines()]
    return [value for what, _, value in pairs if what == key]


def _shown(ref: str) -> str:
    for prefix, word in _KINDS.items():
        if ref.startswith(prefix):
            return word + ref.removeprefix(prefix)
    return ref


def read_objects(root: Path, names: Sequence[str]) -> dict[str, bytes]:
    """What git has under these names (a blob's id, COMMIT:PATH); those that it lacks are left out."""
    asked = "".join(f"{name}\n" for name in names).encode()
    said = git_bytes(root, "cat-file", "--batch", stdin=asked) if names else b""
    told = zip(names, _batch(io.BytesIO(said)), strict=True)
    return {name: each.content for name, each in told if each is not None}


def every_object(root: Path) -> Iterator[Object]:
    """All that git has, one at a time, those that nothing names included."""
    with git_stream(root, "cat-file", "--batch-all-objects", "--batch", "--unordered") as said:
        yield from filter(None, _batch(said))


def _batch(said: IO[bytes]) -> Iterator[Object | None]:
    """What `git cat-file --batch` answers, in the order asked; None for what git lacks."""
    while head := said.readline().rstrip(b"\n"):
        if head.endswith(b" missing"):
            yield None
            continue
        name, kind, size = head.decode().split(" ")
        yield Object(name, kind, said.read(int(size)))
        said.read(1)  # the end of its last line
