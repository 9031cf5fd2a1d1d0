"""`headrace reproduce`: a version made again from its commit and its data, in a folder of its own, and compared.

The data come by their hashes from DVC's cache or its remote; the source is not asked again. What was kept with the
version (recipe, lock, settings, patch) is compared with its hash, put in its place, and every stage from `validate` on
runs by force.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.atomic_files import make_folder, read_json, sha256_json
from core.errors import BadRequest
from core.manifest import read_manifest
from core.workspace import Job, Workspace
from flows.graph.graph import CODE_STAGE
from flows.graph.plan import Patience
from flows.lineage.clone import Origin, bring_bases, commit_of, lay_out
from flows.run.workers import Crew, Facts
from flows.servers.turns import working
from flows.terminal.output import say
from pipelines.code import CODE
from registry.cleanup.forgotten_rows import forgotten
from registry.promotion.measured import METRICS
from registry.store import versions
from registry.store.overview import libraries_moved
from registry.store.versions import Version
from registry.version.evidence_files import LOCK, PATCH, RECIPE, RECIPE_LOCK, SETTINGS, Kept, read

_STAGES = ("validate", "preprocess", "train", "evaluate")
_KEPT = (RECIPE, RECIPE_LOCK, SETTINGS, LOCK, METRICS)
_SHOWN = 2000  # lines of a patch


@dataclass(frozen=True)
class Reproduction:
    """What came out. differences: in words; none when weights and metrics are equal. libraries: that moved since."""

    model: str
    version: str
    model_hash: str
    differences: list[str]
    libraries: Mapping[str, tuple[str, str]]

    @property
    def equal(self) -> bool:
        return not self.differences


def reproduce(
    workspace: Workspace, model: str, which: str, *, keep: Path | None = None, apply_patch: bool = False
) -> Reproduction:
    """Make a version again and compare its weights and metrics.

    keep: a folder to do it in, which stays; by default a temporary one. apply_patch: run what the version's commit
    lacked though no trusted key signed it.
    Raises BadRequest for an unknown version, one whose commit or evidence is gone, or one with a patch that nobody
    vouches for, or whose evidence was altered; BadData for one that no trusted key signed; HeadraceError when a
    stage fails.
    """
    version = versions.resolve(model, which, workspace.var)
    if versions.freed(version) is None:
        versions.require_signed(version, workspace.var)
    if lost := forgotten(version):
        raise BadRequest(f"{model}/{version.version} cannot be made again: {lost}.")
    with tempfile.TemporaryDirectory(prefix="headrace-") as own:
        kept = read(version, workspace.var, trusted=True, into=Path(own))
        origin = _origin(kept, apply_patch=apply_patch)
        scratch = tempfile.TemporaryDirectory(prefix="headrace-reproduce-") if keep is None else nullcontext(keep)
        with working(workspace, say=say), scratch as folder:  # it reads and fills DVC's cache
            make_folder(Path(folder))
            job = lay_out(workspace, origin, Path(folder).resolve() / "workspace")
            _run_stages(job, bring_bases(workspace, origin, job.workspace.root))
            return Reproduction(
                model, version.version, str(version.model_hash),
                list(_differences(job, version, origin.kept, workspace)),
                libraries_moved(version.run_id, workspace.var),
            )  # fmt: skip


def lines(done: Reproduction) -> Iterator[str]:
    yield from done.differences
    for library, (then, now) in done.libraries.items():
        yield f"{library} was {then} then, and is {now} now"
    word = "equal, weights and metrics" if done.equal else "NOT equal"
    yield f"{done.model}/{done.version} was made again: {word} ({done.model_hash[:12]})"


def _origin(kept: Kept, *, apply_patch: bool) -> Origin:
    """What the version is made of, every file of it compared; and of the patch, whether it may be run."""
    version = kept.version
    files = {}
    for name in _KEPT:
        if (file := kept.file(name)) is None:
            raise BadRequest(f"{version.called} has no {name} with it. Register it again.")
        files[name] = file
    if old := kept.lacking:
        say(f"{version.called}: {old}")
    patch = kept.file(PATCH)
    if patch is not None and not (kept.signed and kept.whole) and not apply_patch:
        _refuse(version, patch)
    return Origin(str(version.tags.get(versions.RECIPE)), commit_of(version, kept.told), files, patch)


def _refuse(version: Version, patch: Path) -> None:
    """Show a patch, and say what to do with it. Raises BadRequest."""
    text = patch.read_text(encoding="utf-8", errors="replace")
    shown = "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)
    first, more = shown.splitlines()[:_SHOWN], shown.count("\n") - _SHOWN
    say("\n".join([*first, *([f"... {more:,} more lines of evidence/{patch.name}"] if more > 0 else [])]))
    raise BadRequest(
        f"{version.called} was made with changes that its commit lacks, shown above, and no trusted key signed them: "
        f"they would run as you. Nothing was run. Read them; then `headrace reproduce {version.called} --apply-patch` "
        "runs them. With HEADRACE_TRUSTED_KEY set, what its key signed is run without asking."
    )


def _run_stages(job: Job, env: Mapping[str, str]) -> None:
    """In the clone, with its code; they log to a store of its own, as an experiment would."""
    root, title = job.workspace.root, f"headrace reproduce {job.name}"
    env = {**env, "DVC_EXP_NAME": "reproduce"}
    with Crew(root, job.workspace.var / "logs", size=1, title=title, env=env) as crew:
        limit_s = Patience.from_environment().stage_timeout_s
        if CODE in (root / "dvc.yaml").read_text(encoding="utf-8"):  # a commit of before had no such stage
            crew.run(CODE_STAGE, force=False, timeout_s=limit_s, on_facts=_waits)
        for stage in _STAGES:
            say(f"{stage}@{job.name}")
            crew.run(f"{stage}@{job.name}", force=True, timeout_s=limit_s, on_facts=_waits)


def _waits(facts: Facts) -> None:
    if "waiting" in facts:
        say(facts["waiting"])


def _differences(job: Job, version: Version, kept: Mapping[str, Path], workspace: Workspace) -> Iterator[str]:
    files = read_manifest(job.folder / "model")["files"]
    if sha256_json(files) != version.model_hash and (gone := versions.freed(version)) is not None:
        yield f"model: other weights; {gone}"
    elif sha256_json(files) != version.model_hash:
        before = read_manifest(versions.packed_folder(version, workspace.var) / versions.MODEL_FILES)["files"]
        for name in sorted(files.keys() | before.keys()):
            if files.get(name) != before.get(name):
                yield f"model/{name}: {str(before.get(name))[:12]} then, {str(files.get(name))[:12]} now"
    then, now = read_json(kept[METRICS]), read_json(job.folder / "evaluation" / METRICS)
    for name in sorted(key for key in then.keys() | now.keys() if key not in ("baselines", "slices", "differences")):
        if then.get(name) != now.get(name):
            yield f"{name}: {_value(then.get(name))} then, {_value(now.get(name))} now"


def _value(metric: Any) -> Any:
    return metric.get("value") if isinstance(metric, Mapping) else metric
