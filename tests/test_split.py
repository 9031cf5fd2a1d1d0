"""split: by content alone, so that nothing that is added later moves what is there."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadRequest
from core.schema.columns import Column, Contract
from core.schema.data import SPLITS, Split
from core.splits.split import absent_values, fraction, side, sides, with_columns

SPLIT = Split(train=0.7, validation=0.1, test=0.2, seed=7)
KEYS = st.lists(st.text(min_size=1), min_size=1, max_size=60, unique=True)


TEXTS = Contract({"text": Column("text")}, inputs=("text",))


def split_of(keys: list[str], split: Split, **columns: Sequence[object]) -> list[str | None]:
    """The split of each row of a table with these columns."""
    return list(sides(keys, pa.table({"text": keys, **columns}), split))


@given(KEYS, KEYS)
def test_a_new_row_never_moves_an_old_one(old: list[str], new: list[str]) -> None:
    before = split_of(old, SPLIT)
    after = split_of(new + old, SPLIT)
    assert list(after[len(new) :]) == list(before)


@given(KEYS, st.randoms())
def test_the_order_of_rows_does_not_matter(keys: list[str], random: object) -> None:
    shuffled = list(keys)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    before = dict(zip(keys, split_of(keys, SPLIT), strict=True))
    assert dict(zip(shuffled, split_of(shuffled, SPLIT), strict=True)) == before


@given(st.integers(0, 2**31), st.floats(0.05, 0.9))
def test_shares_hold_within_sampling_error(seed: int, train: float) -> None:
    rows = 2000
    rest = (1 - train) / 2
    split = Split(train=train, validation=rest, test=1 - train - rest, seed=seed)
    found = split_of([f"row {i}" for i in range(rows)], split)
    for name in SPLITS:
        share = getattr(split, name)
        assert abs(found.count(name) / rows - share) < 6 * (share * (1 - share) / rows) ** 0.5


@given(st.lists(st.tuples(st.text(), st.sampled_from("abcdef")), min_size=1, max_size=80))
def test_a_group_stays_together(rows: list[tuple[str, str]]) -> None:
    split = SPLIT.model_copy(update={"group_by": "author"})
    authors = [author for _, author in rows]
    table = pd.DataFrame({"author": authors, "split": split_of([key for key, _ in rows], split, author=authors)})
    assert (table.groupby("author")["split"].nunique() == 1).all()


def test_a_group_is_the_same_in_a_column_of_integers_and_of_floats() -> None:
    split = SPLIT.model_copy(update={"group_by": "author"})
    keys = [f"k{i}" for i in range(40)]
    whole = split_of(keys, split, author=list(range(40)))
    with_a_gap = split_of([*keys, "new"], split, author=[*map(float, range(40)), None])
    assert whole == with_a_gap[:40]
    assert with_a_gap[40] == side("new", split)


def test_long_numbers_name_a_group_by_every_digit() -> None:
    """pandas would make floats of them where one is missing, and two customers one."""
    ids = [2**60 + at for at in range(50)]
    split = SPLIT.model_copy(update={"group_by": "author"})
    keys = [f"k{i}" for i in range(51)]
    assert split_of(keys, split, author=[*ids, None])[:50] == split_of(keys[:50], split, author=ids)
    assert len(set(split_of(keys[:50], split, author=ids))) > 1


def test_thresholds_are_on_sha256_of_seed_and_key() -> None:
    """Against the definition, worked out by hand: sha256("7:a") starts with 0x... as `sha256sum` prints it."""
    import hashlib

    top = int(hashlib.sha256(b"7:a").hexdigest()[:16], 16) / 2**64
    assert fraction("a", 7) == pytest.approx(top, abs=1e-15)
    assert fraction("a", 7) != fraction("a", 8)


def test_a_share_of_zero_gets_no_row() -> None:
    split = Split(train=0.8, validation=0.0, test=0.2)
    assert set(split_of([f"k{i}" for i in range(500)], split)) == {"train", "test"}


def test_stratify_reports_and_moves_nothing() -> None:
    split = SPLIT.model_copy(update={"stratify": "label"})
    keys = [f"k{i}" for i in range(200)]
    rows = pd.DataFrame({"label": ["rare" if i == 0 else "common" for i in range(200)]})
    rows["split"] = split_of(keys, split, label=rows["label"].tolist())
    assert rows["split"].tolist() == split_of(keys, SPLIT)
    others = [name for name in SPLITS if name != rows["split"][0]]
    found = {name: set(rows.loc[rows["split"] == name, "label"]) for name in SPLITS}
    assert absent_values(found, split) == {name: ["rare"] for name in others}


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(
        BadRequest, match=r"tickets.yaml: data.split.group_by: the data has no column 'autor'. Did you mean 'author'\?"
    ):
        with_columns(SPLIT.model_copy(update={"group_by": "autor"}), ["author", "text"], TEXTS, "recipes/tickets.yaml")
