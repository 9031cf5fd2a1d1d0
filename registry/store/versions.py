"""What the registry holds: versions, aliases, and the files of a version on this machine. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from core.atomic_files import read_json, replacing, sha256_json
from core.errors import BadData, BadRequest
from core.manifest import damage, read_manifest
from core.weights.base_store import STORE, base_folder, named_base, unlike
from core.workspace import leads_out
from registry.store import signing
from registry.store.connection import every_page, if_there, is_embedded, server_name, shown_server
from registry.store.embedded_reader import reading
from registry.store.ledger_head import HEAD_TAG, parse_head
from registry.store.ledger_runs import whereabouts
from registry.store.names import downloads, local_folder, require_id, require_name
from registry.store.server_bases import fetch, kept_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

CHAMPION = "champion"
CHALLENGER = "challenger"
MODEL_HASH = "model_hash"  # tags of a version
RECIPE = "recipe"
GATE = "gate"
PASSED = "passed"
FAILED = "failed"
EVIDENCE = "evidence"  # folder of a run's artifacts
PREDICTIONS = "predictions.parquet"
PROFILE = "profile.json"
EVIDENCE_HASH = "evidence_hash"  # of a version's bundle (pipelines/evidence/evidence.py)
TEST_HASH = "test_hash"  # of the rows that it was judged on
GONE = "rows_forgotten"  # when; its data are not whole any more: it cannot be made again as it was
FREED = "freed"  # when `headrace gc` removed the files of a version that nothing needed
MODEL_FILES = "artifacts/model"  # below a version's MLflow model: the files as the task saved them
ABOUT_FILE = "artifacts/about.json"
ANEW = "`headrace run` registers it anew, as version 1; or give it its name back in MLflow, where it has another."
_SHOWN = 20


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    version: str
    run_id: str
    model_id: str
    created_ms: int
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def called(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def number(self) -> int:
        return int(self.version)

    @property
    def passed(self) -> bool:
        """Whether its gates passed when it was last registered."""
        return self.tags.get(GATE) == PASSED

    @property
    def model_hash(self) -> str | None:
        return self.tags.get(MODEL_HASH)


def versions(name: str, var: Path) -> list[Version]:
    """Every version of a model, the newest first; none when the model is unknown."""
    with reading(var) as client:
        return read_versions(client, name)


def every_version(var: Path) -> list[Version]:
    """Every version of every model of the server in charge; none when there is no store yet."""
    with reading(var) as client:
        return [version for name in model_names(client) for version in read_versions(client, name)]


def model_names(client: MlflowClient) -> list[str]:
    """The registered models, sorted."""
    return sorted(model.name for model in every_page(client.search_registered_models))


def champion(name: str, var: Path) -> Version | None:
    """The version that is served."""
    return next((version for version in versions(name, var) if CHAMPION in version.aliases), None)


def resolve(name: str, version_or_alias: str, var: Path) -> Version:
    """A version by number or alias ("3", "champion", "@champion").

    Raises BadRequest that lists what there is.
    """
    require_name(name)
    with reading(var) as client:
        return choose(name, version_or_alias, read_versions(client, name), client)


def choose(name: str, version_or_alias: str, found: Sequence[Version], client: MlflowClient) -> Version:
    """As resolve(), among versions at hand."""
    wanted = version_or_alias.removeprefix("@")
    if not found:
        if registered(client, name) is None and (what := whereabouts(client, name)) is not None:
            raise BadRequest(f"{what}. {ANEW}")
        names = sorted(model.name for model in client.search_registered_models(max_results=_SHOWN))
        known = f"Registered: {', '.join(names)}" if names else "Nothing is registered yet: `headrace run` does it"
        raise BadRequest(f"no model {name!r} with a version in {shown_server()}. {known}.")
    for version in found:
        if wanted == version.version or wanted in version.aliases:
            return version
    kind = "version" if wanted.isdigit() else "alias"
    shown = ", ".join(version.version for version in found[:_SHOWN])
    named = ", ".join(f"@{alias} = {v.version}" for v in found for alias in v.aliases) or "none"
    raise BadRequest(f"{name} has no {kind} {wanted!r} in {shown_server()}. Versions: {shown}. Aliases: {named}.")


def model_folder(name: str, version_or_alias: str, var: Path) -> tuple[Path, str]:
    """The folder with a version's files as its task saved them (weights, config, tokenizer ...), and the version.

    The embedded store's own files; those of a server are downloaded once, into var/mlflow/downloads.
    """
    version = resolve(name, version_or_alias, var)
    return packed_folder(version, var) / MODEL_FILES, version.version


def packed_folder(version: Version, var: Path) -> Path:
    """The MLflow model of a version on this machine, its model's files re-hashed.

    A damaged download is fetched again, once. Raises BadRequest when the files are gone, BadData when they are not
    those that were registered, or when a trusted key is configured and did not sign them.
    """
    require_id(version.model_id, of=version.called)
    require_files(version)
    keys = signing.trusted_keys()
    with reading(var) as client:
        folder = local_copy(client, version.model_id, version.model_hash, var, called=version.called)
    if keys and (fault := _unsigned(version, folder, keys, var)):
        raise BadData(
            f"{version.called} is not used: {fault} ({signing.TRUSTED}). Register the same model again with "
            f"{signing.KEY} set, which signs it, or promote a version that is signed."
        )
    return folder


def _unsigned(version: Version, folder: Path, keys: Sequence[signing.PublicKey], var: Path) -> str | None:
    """Why none of the keys vouches for a version; None: one does.

    The id of its MLflow model stands in the signed folder: another version's is no substitute.
    """
    from mlflow.models import Model

    bundle = evidence(version, signing.BUNDLE, var)
    if bundle is None:
        return "it has no evidence"
    of_model, of_bundle = (evidence(version, name, var) for name in (signing.MODEL, signing.EVIDENCE))
    if fault := signing.fault(folder, of_model, keys) or signing.fault(bundle, of_bundle, keys):
        return fault
    told, found = read_json(bundle)["model"], Model.load(str(folder)).model_id
    if told != {"name": version.name, "model_hash": version.model_hash} or found != version.model_id:
        return f"what is signed is another version: {told['name']}, {str(told['model_hash'])[:12]}, {found}"
    return None


def require_signed(version: Version, var: Path) -> None:
    """Raise BadData for a version that may not be used where a trusted key is configured."""
    if (fault := distrusted(version, var)) is not None:
        raise BadData(fault)


def distrusted(version: Version, var: Path) -> str | None:
    """Why a version may not be used where a trusted key is configured; None: it may, or nothing is asked."""
    if not signing.trusted_keys():
        return None
    try:
        packed_folder(version, var)
    except (BadData, BadRequest) as fault:
        return str(fault)
    return None


def freed(version: Version) -> str | None:
    """What to say of a version whose files `headrace gc` removed; None when they were not."""
    when = version.tags.get(FREED)
    if when is None:
        return None
    return (
        f"the files of {version.called} were freed by `headrace gc` on {when[:10]}: nothing needed them. `headrace "
        f"reproduce {version.called} --keep FOLDER` makes it again; registering the same model again brings them back."
    )


def require_files(version: Version) -> None:
    """Raise BadRequest for a version whose files were freed."""
    if (gone := freed(version)) is not None:
        raise BadRequest(gone)


def local_copy(
    client: MlflowClient, model_id: str, model_hash: str | None, var: Path, *, called: str = "the model"
) -> Path:
    """As packed_folder(), of MLflow's model with that id. called: its name in messages."""
    folder = local_folder(client.get_logged_model(model_id).artifact_location, var)
    if folder is None or (named_base(folder / MODEL_FILES) and leads_out(folder, var)):  # a base is found in var/
        folder = downloads(model_id, var)
        if not folder.is_dir() or _altered(folder / MODEL_FILES, model_hash):
            _download(client, model_id, folder)
    if not (folder / MODEL_FILES).is_dir():
        raise BadRequest(f"{called}: its files are gone from {folder}. Register the model again.")
    if fault := _altered(folder / MODEL_FILES, model_hash):
        raise BadData(
            f"{called} is not used: {fault} in {folder / MODEL_FILES}. Put the files back from a copy, or promote "
            "another version."
        )
    _require_base(client, folder / MODEL_FILES, var)
    return folder


def _require_base(client: MlflowClient, model: Path, var: Path) -> None:
    """The base of adapters, hashed; a server's is downloaded once, for all versions that add to it.

    Raises BadRequest when it is gone, BadData when another lies in its place.
    """
    named = named_base(model)
    if named is not None and not is_embedded() and unlike(var / STORE / named.files, named.files):
        if run := kept_run(client, named):
            local_folder(run.info.artifact_uri, var)  # where MLflow will read
        fetch(client, run, named, var / STORE / named.files)
    base_folder(model)


def _altered(model: Path, model_hash: str | None) -> str | None:
    """Why these are not the files that were registered; None: they are."""
    if fault := damage(model):
        return fault
    if sha256_json(read_manifest(model)["files"]) != model_hash:
        return "the manifest is that of another model"
    return None


def evidence(version: Version, file: str, var: Path) -> Path | None:
    """A file that was kept as evidence for a version; None when there is none."""
    require_id(version.run_id, of=version.called)
    with reading(var) as client:
        run = if_there(client.get_run, version.run_id)
        if run is None:
            return None
        name = PurePosixPath(EVIDENCE, file)
        folder = local_folder(run.info.artifact_uri, var)
        if folder is not None:
            return folder / name if (folder / name).is_file() else None
        if str(name) not in [entry.path for entry in client.list_artifacts(version.run_id, str(name.parent))]:
            return None
        folder = downloads(version.run_id, var)
        folder.mkdir(parents=True, exist_ok=True)
        return Path(client.download_artifacts(version.run_id, str(name), str(folder)))


def page_link(base: str | None, version: Version) -> str | None:
    """The address of a version's page.

    base: address of the page over the embedded store, when one runs; a server's own address is known.
    """
    root = base if is_embedded() else server_name()
    return root and f"{root.rstrip('/')}/#/models/{version.name}/versions/{version.version}"


def read_versions(client: MlflowClient, name: str) -> list[Version]:
    """As versions(), with a client at hand."""
    model = registered(client, name)
    if model is None:
        return []
    named = accepted(_aliases(model), model.tags.get(HEAD_TAG))
    found = every_page(client.search_model_versions, f"name='{name}'")
    return sorted((_version(entry, named) for entry in found), key=lambda version: -version.number)


def registered(client: MlflowClient, name: str) -> RegisteredModel | None:
    """The model as MLflow has it; None for one that is unknown."""
    return if_there(client.get_registered_model, name)


def raw_champion(client: MlflowClient, name: str) -> str | None:
    """The version that MLflow's alias stands at, whether that was accepted or not."""
    model = registered(client, name)
    return _aliases(model).get(CHAMPION) if model else None


def accepted(named: Mapping[str, str], ledger: str | None) -> dict[str, str]:
    """Aliases as they count: `champion` is the ledger's last accepted one, wherever somebody moved the alias.

    ledger: the model's tag HEAD_TAG; without one the alias itself counts.
    """
    head = parse_head(ledger)
    if head is None:
        return dict(named)
    others = {alias: version for alias, version in named.items() if alias != CHAMPION}
    return {**others, **({CHAMPION: head.champion} if head.champion else {})}


def _aliases(model: RegisteredModel) -> dict[str, str]:
    return {alias: str(version) for alias, version in model.aliases.items()}


def _version(entry: Any, named: Mapping[str, str]) -> Version:
    number = str(entry.version)
    return Version(
        name=entry.name,
        version=number,
        run_id=entry.run_id or "",
        model_id=entry.model_id or str(entry.source).removeprefix("models:/"),
        created_ms=entry.creation_timestamp,
        tags=dict(entry.tags),
        aliases=tuple(sorted(alias for alias, of in named.items() if of == number)),
    )


def _download(client: MlflowClient, model_id: str, folder: Path) -> None:
    from mlflow.artifacts import download_artifacts

    with replacing(folder) as fresh:
        download_artifacts(artifact_uri=f"models:/{model_id}", dst_path=str(fresh), tracking_uri=client.tracking_uri)
