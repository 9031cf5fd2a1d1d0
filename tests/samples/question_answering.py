"""Who is where, asked of three sentences, from a small base."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import torch

from tests.conftest import Workspace
from tests.samples import Sample, pin_base
from tests.small_pairs import make_base


def _questions(workspace: Workspace) -> None:
    rows = question_rows(160)
    lost = {"question": "where is Max", "context": "Max is at home.", "answers": '["Berlin"]'}
    workspace.write_rows([*rows, lost])
    texts = [text for row in rows for text in (row["question"], row["context"])]
    make_base(workspace.path("start"), texts=texts, vocabulary=400)
    pin_base(workspace)


def question_rows(count: int) -> list[dict[str, str]]:
    """Who is where: the place in the sentence with the name of the question. Two questions a context."""
    people, towns = ("Ann", "Bo", "Cy", "Dee", "Eve"), ("Rome", "Oslo", "Bonn", "Lima")
    rows = []
    for at in range(count):
        number, asked = divmod(at, 2)
        facts = [(people[(number + each) % 5], towns[(number // 5 + each) % 4]) for each in range(3)]
        context = f"{' '.join(f'{name} is in {town}.' for name, town in facts)} So it says in letter {number}."
        name, town = facts[(asked + number) % 3]
        rows.append({"question": f"where is {name}", "context": context, "answers": json.dumps([town])})
    return rows


def _surest(module: Any, batch: dict[str, torch.Tensor], units: pd.DataFrame) -> torch.Tensor:
    """How probable the best span of each window is, of at most four tokens."""
    begins, ends = module(**batch).logits.softmax(dim=1).unbind(dim=2)
    spans = begins[:, 1:, None] * ends[:, None, 1:]
    best: torch.Tensor = (spans.triu() - spans.triu(diagonal=4)).flatten(1).amax(dim=1)
    return best


SAMPLE = Sample(
    _questions,
    "task: question_answering\n"
    "data: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2, group_by: context}}\n"
    "preprocess: {max_tokens: 40, max_answer_tokens: 4}\nmodel: {base: ./start}\n",
    "'Berlin' is not in the context",
    None,
    said=lambda said: said["confidence"],
    expected=_surest,
    like=[
        {
            "question": f"where is {at} from?",
            "context": f"{at} is of Rome.",
            "answers": {"text": ["Rome"], "answer_start": [len(str(at)) + 7]},
        }
        for at in range(9)
    ],
)
