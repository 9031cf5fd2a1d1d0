"""What is remembered of every row while a table of examples is read: a few numbers each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from core.schema.columns import CONTENT_HASH, MEASURED, Contract
from core.schema.data import Split
from core.tables.keys import codes, loose_key
from core.tables.split import sides

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from pipelines.validate.duplicates import Mask, Numbers

_WORDLESS = loose_key("")  # texts of signs and emoji alone are not all the same text


@dataclass(frozen=True)
class Facts:
    """One entry a row in each array, in the order of the table."""

    keys: Numbers  # equal: duplicates
    loose: Numbers  # equal: the same but for punctuation
    labels: Numbers
    label_names: dict[int, str]
    in_test: Mask
    measures: dict[str, np.ndarray[Any, Any]]  # what drift compares: lengths and numbers


def content_column(contract: Contract) -> str:
    """The column that a task's key is made from: the text itself, or for media the hash of the file."""
    return CONTENT_HASH if contract.media else contract.content


def facts_of(rows: pd.DataFrame, contract: Contract, *, key: Callable[[str], str], split: Split | None) -> Facts:
    """The facts of some rows. split: None when nothing is split."""
    import numpy as np
    import pandas as pd

    contents = rows[content_column(contract)].fillna("").astype(str)
    keys = [key(content) for content in contents]
    loose = keys if contract.media else [_loose(content, own) for content, own in zip(contents, keys, strict=True)]
    in_test = np.zeros(len(rows), dtype=bool)
    if split is not None:
        in_test = (sides(rows.assign(key=pd.Series(keys, rows.index, dtype="str")), split) == "test").to_numpy(bool)
    labels = rows[contract.label].fillna("").astype(str) if contract.label else pd.Series([""] * len(rows), dtype="str")
    names = {name: _code(name) for name in labels.unique()}
    return Facts(
        keys=codes(keys),
        loose=codes(loose),
        labels=np.array([names[name] for name in labels], dtype=np.int64),
        label_names={code: name for name, code in names.items()},
        in_test=in_test,
        measures=_measures(rows, contract),
    )


def joined(parts: Sequence[Facts]) -> Facts:
    """The facts of consecutive parts of a table as those of the whole."""
    import numpy as np

    def together(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    return Facts(
        keys=together("keys"),
        loose=together("loose"),
        labels=together("labels"),
        label_names={code: name for part in parts for code, name in part.label_names.items()},
        in_test=together("in_test"),
        measures={name: np.concatenate([part.measures[name] for part in parts]) for name in parts[0].measures},
    )


def label_counts(facts: Facts, rows: Iterable[int] | Numbers) -> dict[str, int]:
    """How many of these rows carry each label."""
    import numpy as np

    values, counts = np.unique(facts.labels[np.asarray(rows, dtype=np.int64)], return_counts=True)
    named = {facts.label_names[int(value)]: int(count) for value, count in zip(values, counts, strict=True)}
    return dict(sorted(named.items()))


def _measures(rows: pd.DataFrame, contract: Contract) -> dict[str, np.ndarray[Any, Any]]:
    import numpy as np
    import pandas as pd

    found = {}
    for name, column in contract.columns.items():
        if name in rows and column.kind == "text":
            found[f"length of {name}"] = rows[name].astype("str").str.len().to_numpy(np.float64, na_value=np.nan)
        elif name in rows and column.kind == "number":
            found[name] = rows[name].to_numpy(np.float64, na_value=np.nan)
    if contract.media:  # what `collect` measured of each file
        for name in MEASURED:
            if name in rows and pd.api.types.is_numeric_dtype(rows[name]):
                found[name] = rows[name].to_numpy(np.float64, na_value=np.nan)
    return found


def _loose(content: str, key: str) -> str:
    loose = loose_key(content)
    return key if loose == _WORDLESS else loose


def _code(name: str) -> int:
    return int(codes([sha256(name.encode("utf-8", "surrogatepass")).hexdigest()])[0])
