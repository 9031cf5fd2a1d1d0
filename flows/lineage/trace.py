"""`headrace lineage`: what a version is made of, hashed again as far as it lies here or in a remote; and forward."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from core import addresses
from core.atomic_files import read_json, sha256_file, write_text
from core.errors import BadData, BadRequest, HeadraceError
from core.git import git_says
from core.manifest import damage
from core.schema.lock import BaseIdentity
from core.weights.base_store import named_base
from core.workspace import Workspace
from flows.catalog.live import live
from flows.catalog.params import read_entries
from flows.graph.git_refs import read_objects
from flows.graph.graph import Graph
from flows.graph.rot import md5_file
from flows.terminal.inputs import parse_model
from flows.terminal.output import show
from pipelines.bases import OtherWeightsError, locked
from pipelines.evidence.evidence import BUNDLE, as_registered
from pipelines.evidence.provenance import is_commit
from pipelines.recipes.read import read_lock
from registry.cleanup.forgotten_rows import forgotten, kept_rows
from registry.store import versions
from registry.store.versions import Version
from registry.version import evidence_files, version_lineage
from registry.version.evidence_files import CODE, LOCK, SETTINGS
from registry.version.onnx_choice import graph_fault
from registry.version.version_lineage import Lineage, Node, State

Found = tuple[State, str]


def trace(workspace: Workspace, model: str, which: str) -> Lineage:
    """The lineage of a version (a number or an alias), every hash of it computed again.

    Raises BadRequest for an unknown version, or one without what was kept with it.
    """
    version = versions.resolve(model, which, workspace.var)
    kept = _Kept(workspace, version)
    graph = version_lineage.recorded(version, kept.lock, kept.settings)
    graph = graph.settled({node.id: found for node in graph.nodes if (found := kept.look(node)) is not None})
    return graph.joined(*_indexes(workspace, version))


class _Kept:
    """What was kept with a version, and where its things are looked for."""

    def __init__(self, workspace: Workspace, version: Version) -> None:
        self.workspace, self.version = workspace, version

    @cached_property
    def recorded(self) -> evidence_files.Kept:
        """What evidence.json says was kept; nothing where it is not the one that was registered."""
        return evidence_files.Kept(self.version, self.workspace.var, as_registered(self.version, self.workspace.var))

    @cached_property
    def altered(self) -> dict[str, str]:
        """The files that are not what was kept -> how they differ."""
        return self.recorded.faults

    @cached_property
    def lock(self) -> dict[str, Any]:
        return self._document(LOCK)

    @cached_property
    def settings(self) -> dict[str, Any]:
        return self._document(SETTINGS)

    @cached_property
    def graph(self) -> Graph:
        return Graph(self.workspace.root)

    def look(self, node: Node) -> Found | None:
        """What became of the thing; None for one that has no hash of its own."""
        looks = {
            "version": self._model, "evidence": self._evidence, "data": self._data, "base": self._base,
            "code": self._code, "source": self._source,
        }  # fmt: skip
        return looks[node.kind](node) if node.kind in looks else None

    def _document(self, name: str) -> dict[str, Any]:
        """What a file says; nothing when it was altered, which the node of the evidence then says."""
        if name in self.altered and not evidence_files.excused(self.version, name):
            return {}
        file = versions.evidence(self.version, name, self.workspace.var)
        if file is None:
            why = "it was registered by an older Headrace. Register it again."
            raise BadRequest(f"{self.version.called} has no {name} with it: {why}")
        found: dict[str, Any] = read_json(file)
        return found

    def _model(self, node: Node) -> Found:
        try:
            versions.packed_folder(self.version, self.workspace.var)
        except BadData as fault:
            return "mismatch", str(fault)
        except BadRequest as fault:
            return "missing", str(fault)
        return "verified", ""

    def _evidence(self, node: Node) -> Found:
        """evidence.json, and every file that it has a hash of."""
        file = versions.evidence(self.version, BUNDLE, self.workspace.var)
        if file is None:
            return "missing", "no evidence was kept with it"
        if (found := sha256_file(file)) != node.hash:
            return "mismatch", f"{BUNDLE} is {found[:12]} now"
        faults = [f"{name} {fault}" for name, fault in self.altered.items()]
        if any(not evidence_files.excused(self.version, name) for name in self.altered):
            return "mismatch", "; ".join(faults)
        if fault := graph_fault(read_json(file), self.version, self.workspace.var):
            return "mismatch", fault
        if faults:
            return "moved", f"{forgotten(self.version)}: {'; '.join(faults)}"
        return "verified", self.recorded.lacking or ""

    def _data(self, node: Node) -> Found:
        """DVC's copies by their hash; and the workspace's own, where it should be this very one."""
        assert node.hash is not None
        found = self.graph.trace(node.hash)
        if found[0] == "missing" and (lost := forgotten(self.version)):
            return "missing", lost
        here = self.workspace.root / node.label
        current = found[0] != "mismatch" and self.graph.output_hashes.get(node.label) == node.hash
        if current and self._has_manifest(node.hash, here) and (fault := damage(here)):
            return "mismatch", f"{node.label}: {fault}"
        return found

    def _has_manifest(self, oid: str, folder: Path) -> bool:
        """Whether an output is a folder with a manifest of its own, or was one: plots have none."""
        here = folder / "manifest.json"
        return folder.is_dir() and (here.exists() or self.graph.object_of(oid, here.name) is not None)

    def _base(self, node: Node) -> Found:
        identity = BaseIdentity.model_validate(self.settings["bases"][node.where])
        try:
            locked(str(node.where), identity, self.workspace.root)
        except HeadraceError as fault:
            if self._keeps(identity):
                return "moved", f"what the version needs of it is kept and whole; {fault}"
            return ("mismatch" if isinstance(fault, OtherWeightsError) else "missing"), str(fault)
        return "verified", ""

    def _keeps(self, identity: BaseIdentity) -> bool:
        """Whether the version holds adapters of that base, and the base is here with the bits that it had."""
        try:
            named = named_base(versions.packed_folder(self.version, self.workspace.var) / versions.MODEL_FILES)
        except HeadraceError:
            return False
        return named is not None and named.sha256 == identity.sha256

    def _code(self, node: Node) -> Found:
        """Every file that the stages ran, as the commit (and the patch of a dirty tree) has it."""
        if (named := (self.recorded.told or {}).get("origin", {}).get("code_commit", node.hash)) != node.hash:
            return "mismatch", f"a tag names it, and the evidence {str(named)[:10]}"
        commit, _, dirty = str(node.hash).partition("-")
        if dirty:
            return "recorded", "the tree was dirty: code.patch holds the difference"
        wanted = version_lineage.code_of(self.lock)  # by its md5, of a version of before code.json
        if (kept := self.recorded.file(CODE)) is not None:
            wanted = read_json(kept)["files"]  # by the first digits of its sha256
        found = _blobs(self.workspace.root, commit, sorted(wanted))
        if found is None:
            return "missing", f"git has no commit {commit[:10]}"
        other = [path for path, said in wanted.items() if not any(h.startswith(said) for h in found.get(path, ()))]
        return ("mismatch", f"{other[0]} is another file in that commit") if other else ("verified", "")

    def _source(self, node: Node) -> Found:
        """A source goes on; what was read of it is in raw/, whose hashes count. Here: is it still the same?"""
        recipe = str(self.version.tags.get(versions.RECIPE))
        watched = read_entries(self.workspace)["recipe"].get(recipe, {}).get("watch")
        for dep in self.lock.get(f"settings@{recipe}", {}).get("deps", ()):
            path = self.workspace.root / dep["path"]
            if dep["path"] == watched and path.is_file() and "md5" in dep:
                same = md5_file(path) == dep["md5"]
                return ("verified", "") if same else ("moved", f"{dep['path']} has changed since")
        return "recorded", "read again by `headrace lock`; what was read is in raw/"

    def row_ids(self) -> set[str]:
        """The rows that the version was trained and tested on, from DVC's copy of them."""
        oid = version_lineage.rows_hash(self.lock)
        rows = self.graph.object_of(oid, "rows.parquet") if oid else None
        return _ids_in(rows or kept_rows(self.version, self.workspace.var))


def forward(workspace: Workspace, *, source: str | None = None, row: str | None = None, base: str | None = None
            ) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The versions and indexes that came from a source, a row (by id) or a base."""
    for version in versions.every_version(workspace.var):
        for name in (LOCK, SETTINGS):
            evidence_files.recorded(version, name, workspace.var)  # raises Altered: else nothing would be an answer
        kept, came = _Kept(workspace, version), False
        with suppress(BadRequest):  # registered without what this asks
            came = _names(kept.settings, source, base) and (row is None or row in kept.row_ids())
        if came:
            yield {"kind": "version", "name": version.name, "version": version.version,
                   "aliases": list(version.aliases)}  # fmt: skip
    for job in live(workspace, "index"):
        table = job.folder / "validated" / "examples.parquet"
        named = (job.folder / SETTINGS).exists() and _names(job.settings, source, base)
        if named and (row is None or row in _ids_in(table)):
            yield {"kind": "index", "name": job.name, "version": None, "aliases": []}


def show_backward(workspace: Workspace, model: str, *, svg: Path | None, as_json: bool) -> int:
    """Print what `trace` found, and draw it; the exit code."""
    graph = trace(workspace, *parse_model(model))
    if svg is not None:
        write_text(svg, version_lineage.svg(graph))
    document = {**asdict(graph), "faults": [node.id for node in graph.faults]}
    show(document, version_lineage.lines(graph), as_json=as_json)
    return HeadraceError.exit_code if graph.faults else 0


def show_forward(workspace: Workspace, *, source: str | None, row: str | None, base: str | None, as_json: bool) -> int:
    """Print what came from a source, a row or a base. Raises BadRequest when none is named."""
    if source is None and row is None and base is None:
        raise BadRequest("name a MODEL, or ask the other way with --source, --row or --base.")
    found = list(forward(workspace, source=source, row=row, base=base))
    lines = [_came(each) for each in found] or ["nothing that is registered or live came from it"]
    show({"found": found}, lines, as_json=as_json)
    return 0


def _came(each: Mapping[str, Any]) -> str:
    if each["kind"] == "index":
        return f"index {each['name']}"
    named = "".join(f" @{alias}" for alias in each["aliases"])
    return f"model {each['name']} version {each['version']}{named}"


def _names(settings: Mapping[str, Any], source: str | None, base: str | None) -> bool:
    """Whether they name the source and the base that are asked for."""
    named = settings["data"]["source"]
    every = named.values() if isinstance(named, Mapping) else [named]  # of published splits, each one's
    if source is not None and addresses.recorded(source) not in [addresses.recorded(str(each)) for each in every]:
        return False
    return base is None or base in settings["bases"]


def _ids_in(table: Path | None) -> set[str]:
    """The ids of a table's rows; none of one that is nowhere."""
    import pyarrow.parquet as pq

    return set(pq.read_table(table, columns=["row_id"])["row_id"].to_pylist()) if table and table.exists() else set()


def _indexes(workspace: Workspace, version: Version) -> tuple[list[Node], list[tuple[str, str]]]:
    """The live indexes whose lock names this version as their embedder."""
    nodes = [
        Node(f"index {job.name}", "index", job.name, None, reference, "recorded", "it embeds with it")
        for job in live(workspace, "index")
        if job.lock_file.exists()
        for reference, identity in read_lock(job).bases.items()
        if reference.startswith(f"models:/{version.name}") and identity.version == version.version
    ]
    return nodes, [(node.id, version.called) for node in nodes]


def _blobs(root: Path, commit: str, paths: list[str]) -> dict[str, tuple[str, str]] | None:
    """The md5 and sha256 of files as a commit has them; None when git has no such commit."""
    if not is_commit(commit) or not git_says(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
        return None
    found = read_objects(root, [f"{commit}:{path}" for path in paths])
    return {
        name.removeprefix(f"{commit}:"): (
            hashlib.md5(content, usedforsecurity=False).hexdigest(),
            hashlib.sha256(content).hexdigest(),
        )
        for name, content in found.items()
    }
