"""Columns that files' names say, and which of a column's values are of which split."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from core.errors import BadRequest
from core.schema.columns import DOCUMENTS
from core.schema.data import Data, Split
from core.splits.split import sides
from tests.test_collect import TEXTS, collected

DIGITS = "{label}_{speaker}_{take}.txt"


@pytest.mark.parametrize(
    ("pattern", "name", "said"),
    [
        (DIGITS, "deep/down/7_jackson_12.txt", {"label": "7", "speaker": "jackson", "take": "12"}),
        (DIGITS, "7_mary_ann_12.txt", {"label": "7", "speaker": "mary", "take": "ann_12"}),  # as short as it may be
        (DIGITS, "7_jackson_12.wav", None),
        (DIGITS, "_jackson_12.txt", None),
        ("{speaker}/*_{take}.*", "sets/bob/x_3.wav", {"speaker": "bob", "take": "3"}),
        ("{speaker}/*_{take}.*", "x_3.wav", None),
        ("({a}+).txt", "(x+).txt", {"a": "x"}),  # nothing but braces and * is special
    ],
)
def test_what_a_name_says(pattern: str, name: str, said: dict[str, str] | None) -> None:
    assert Data(source="x", name_pattern=pattern).columns_of_name(name) == said


@pytest.mark.parametrize("pattern", ["", "all.txt", "{}_{b}", "{a}_{a}", "{a/b}"])
def test_a_pattern_that_names_no_columns_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="must name columns in braces, each once"):
        Data(source="x", name_pattern=pattern)


def test_names_become_columns_and_another_name_is_a_fault(tmp_path: Path) -> None:
    for name in ("texts/in/a_x_1.txt", "texts/b_y_2.txt", "texts/README.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    rows = collected(tmp_path, TEXTS, source="texts", reader="folders", name_pattern=DIGITS)
    told = {row["place"]: (row["label"], row["speaker"], row["take"], row["fault"]) for row in rows}
    assert told == {
        "in/a_x_1.txt": ("a", "x", "1", None),
        "b_y_2.txt": ("b", "y", "2", None),
        "README.txt": (None, None, None, f"its name is not as name_pattern has it ({DIGITS})"),
    }


def test_where_names_say_nothing_a_pattern_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a_b_c.txt").write_text("text")
    with pytest.raises(BadRequest, match=r"data\.name_pattern: it is of files .* folders or labelled_folders"):
        collected(tmp_path, TEXTS, source="rows.csv", name_pattern=DIGITS)
    with pytest.raises(BadRequest, match=r"the reader labelled_folders says 'label' itself"):
        collected(tmp_path, TEXTS, source="docs", reader="labelled_folders", name_pattern=DIGITS)
    with pytest.raises(BadRequest, match=r"documents have no columns that their names say"):
        collected(tmp_path, DOCUMENTS, source="docs", reader="folders", name_pattern=DIGITS)


def test_values_say_the_split_and_all_others_are_of_train() -> None:
    split = Split.model_validate({"given": "take", "values": {"validation": [5], "test": [0, "one"]}})
    takes = ["0", "5", "7", "one", None]
    rows = pa.table({"take": takes, "place": ["x"] * len(takes)})
    assert list(sides(["k"] * len(takes), rows, split)) == ["test", "validation", "train", "test", None]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"values": {"test": [0]}}, "values belong to a given split"),
        ({"given": "take", "values": {"validation": [0]}}, "values must say which rows are of test"),
        ({"given": "take", "values": {"validation": [1, 0], "test": [0, 2]}}, "values names '0' for two splits"),
    ],
)
def test_values_that_decide_nothing_are_refused(section: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Split.model_validate(section)
