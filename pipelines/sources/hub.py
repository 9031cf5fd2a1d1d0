"""hub://DATASET: a data set of the Hugging Face hub, or a local folder of the same kind (hub://./folder), streamed.

options: name, split (default: train), revision, data_files, data_dir, as `datasets.load_dataset` has them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import BadRequest, Outage
from core.schema.data import Data
from core.workspace import expanded, leads_out
from pipelines.sources import Identity
from pipelines.sources._files import Record, Table

SCHEMES = ("hub",)
PREFIX = "hub://"
OPTIONS = ("name", "split", "revision", "data_files", "data_dir")
# Whose own faults come through `datasets` as they are: what it reads a file or a member of an archive with.
_DECODERS = {"_pickle", "cbor2", "msgpack.exceptions", "struct", "tarfile", "zipfile", "zlib"}
_SAID_CHARS = 200  # of a message of `datasets`: some list every suffix there is


def identify(data: Data, root: Path) -> Identity:
    if _folder(data, root) is not None:
        return {"kind": "hub", "revision": None}
    import huggingface_hub

    with _faults(data):
        info = huggingface_hub.HfApi().dataset_info(_name(data), revision=_options(data).get("revision"))
    return {"kind": "hub", "revision": info.sha}


def fetch(data: Data, root: Path, *, downloads: Path, identity: Identity) -> Table:
    options, folder = _options(data), _folder(data, root)
    split = options.get("split", "train")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with _faults(data):
        import datasets

        rows = datasets.load_dataset(
            _name(data) if folder is None else str(folder),
            **{key: options.get(key) for key in ("name", "data_files", "data_dir")},
            split=split,
            revision=identity.get("revision"),
            cache_dir=str(downloads / "hub"),
            streaming=True,
        )
        columns = rows.column_names
    return Table(f"{data.source} ({split})", columns, _records(data, _undecoded(rows), folder))


def watch(data: Data) -> str | None:
    name = _name(data)
    return str(expanded(name)) if name.startswith((".", "/", "~")) else None


def _undecoded(rows: Any) -> Any:
    """The rows with pictures, sounds and the like as the bytes that they are."""
    for name, feature in (rows.features or {}).items():
        if hasattr(feature, "decode"):
            rows = rows.cast_column(name, type(feature)(decode=False))
    return rows


def _records(data: Data, rows: Any, folder: Path | None) -> Iterator[Record]:
    features = rows.features or {}
    with _faults(data):
        for number, row in enumerate(rows, start=1):
            cells = {name: _cell(value, features.get(name), folder) for name, value in row.items()}
            fault = next((f"{name}: {wrong}" for name, (_, wrong) in cells.items() if wrong), None)
            yield Record({name: value for name, (value, _) in cells.items()}, f"row {number}", fault=fault)


def _cell(value: Any, feature: Any, folder: Path | None) -> tuple[Any, str | None]:
    """A cell as the other sources have it, and what is wrong with it or None."""
    import datasets

    if value is None:
        return None, None
    if isinstance(feature, datasets.ClassLabel):
        return (None if value < 0 else str(feature.int2str(value))), None  # -1: there is none
    if isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.ClassLabel):  # tags of tokens
        return [_cell(each, feature.feature, folder)[0] for each in value], None
    if not isinstance(feature, datasets.Image | datasets.Audio):
        return value, None
    if value["bytes"] is not None:
        return value["bytes"], None
    file = Path(value["path"])
    if folder is None or leads_out(file, folder):
        return None, f"{str(file)!r} lies outside the source's folder"
    return file, None


def _name(data: Data) -> str:
    name = str(data.source)[len(PREFIX) :].rstrip("/")
    if not name:
        raise BadRequest(f"source {data.source}: hub://ORGANISATION/DATASET or hub://./folder is meant.")
    if name.isidentifier() and find_spec(f"datasets.packaged_modules.{name}"):
        raise BadRequest(
            f"source {data.source}: {name} is no data set but a reader of the datasets library, and some of those read "
            "pickles. Name the files themselves: a path, with `reader:`."
        )
    return name


def _folder(data: Data, root: Path) -> Path | None:
    """The local folder, when one is named."""
    name = watch(data)
    if name is None:
        return None
    folder = root / name
    if not folder.is_dir():
        raise BadRequest(f"source {data.source}: no such folder ({folder}).")
    return folder


def _options(data: Data) -> dict[str, Any]:
    unknown = sorted(data.options.keys() - set(OPTIONS))
    if unknown:
        raise BadRequest(f"source {data.source}: unknown option {unknown[0]!r}. Allowed: {', '.join(OPTIONS)}")
    return data.options


@contextmanager
def _faults(data: Data) -> Iterator[None]:
    """Faults of the hub and of `datasets` as messages."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError  # type: ignore[attr-defined]

    try:
        yield
    except (RepositoryNotFoundError, RevisionNotFoundError, DatasetNotFoundError) as error:
        said = str(error).splitlines()[0][:_SAID_CHARS]
        raise BadRequest(f"source {data.source}: no such data set, or it needs HF_TOKEN ({said}).") from None
    except (HTTPError, ConnectionError, TimeoutError) as error:
        said = type(error).__name__
        raise Outage(f"source {data.source}: the hub cannot be reached ({said}). Run again later.") from None
    except Exception as error:
        of_data = isinstance(error, DatasetsError | ValueError | FileNotFoundError | RuntimeError | EOFError)
        if not of_data and type(error).__module__ not in _DECODERS:
            raise
        said = (str(error) or type(error).__name__).splitlines()[0][:_SAID_CHARS]
        raise BadRequest(f"source {data.source}: it cannot be read with {data.options}: {said}") from None
