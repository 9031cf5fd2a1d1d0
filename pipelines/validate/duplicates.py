"""What no single row shows: the same content twice, under two labels, or on both sides of the split.

Pure, over one small number a row (`codes`), so that only these are held for all rows at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[np.int64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]


def count_repeats(keys: Numbers, kept: Mask) -> int:
    """How many of the kept rows repeat the key of another one: what removing duplicates will remove."""
    import numpy as np

    return int(kept.sum()) - len(np.unique(keys[kept]))


def contradictions(keys: Numbers, labels: Numbers, kept: Mask) -> Numbers:
    """The kept rows whose key stands under more than one label, all of them; ascending."""
    import numpy as np

    rows = np.flatnonzero(kept)
    if not len(rows):
        return rows
    order = rows[np.lexsort((labels[rows], keys[rows]))]
    new_key = np.r_[True, keys[order][1:] != keys[order][:-1]]
    new_label = new_key | np.r_[True, labels[order][1:] != labels[order][:-1]]
    group = np.cumsum(new_key) - 1
    per_group = np.bincount(group, weights=new_label)
    return np.sort(order[per_group[group] > 1])


def leaks(keys: Numbers, in_test: Mask, kept: Mask) -> Numbers:
    """The kept rows outside the test split whose key a kept row of the test split has as well; ascending."""
    import numpy as np

    tested = np.unique(keys[kept & in_test])
    return np.flatnonzero(kept & ~in_test & np.isin(keys, tested))
