"""A question and a context as windows of tokens that an encoder can take, and answers <-> tokens of a window.

Each window is the question, as the tokenizer writes one text, then a part of the context and the tokenizer's closing
mark: [CLS] question [SEP] part [SEP]. Where a context has more tokens than fit, windows overlap; nothing of it is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from core.cells.answer_spans import Answer
from core.schema.section import Section

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Encoding, Tokenizer

OVERLAP = 4  # a window shares one part in so many with the next
NULL = 0  # the place of a window that stands for "the answer is not here"
_QUESTION = 2  # a question has at most one part in so many of the tokens
_SHARED = OVERLAP * _QUESTION
_USUAL = 30  # tokens of the longest answer: 998 of 1,000 of SQuAD's have no more


class Options(Section):
    max_tokens: Annotated[
        int, Field(ge=32, le=8192, description="that the encoder sees at once: question, part of the context, marks")
    ] = 256
    max_answer_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            description="of the longest answer, at most an eighth of max_tokens, or none of the windows might hold it "
            "whole; by default so many, or 30 where these are fewer",
        ),
    ] = None

    @model_validator(mode="after")
    def _some_window_holds_each_answer(self) -> Options:
        """A question has at most half of a window, and windows share a quarter of the rest."""
        if self.longest > self.max_tokens // _SHARED:
            raise ValueError(
                f"max_answer_tokens must be at most {self.max_tokens // _SHARED}, an eighth of max_tokens "
                f"({self.max_tokens}), got {self.longest}: raise max_tokens, or lower it"
            )
        return self

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return self.max_answer_tokens or min(_USUAL, self.max_tokens // _SHARED)


Bounds = tuple[int, int]  # the first character of a token in the context, and that after its last


@dataclass(frozen=True)
class PairWindow:
    """A part of a context behind its question. of: which pair. ids: the tokens, special ones included.

    first: where in ids the context's tokens begin. bounds: of each of these.
    """

    of: int
    ids: Sequence[int]
    first: int
    bounds: Sequence[Bounds]

    def holds(self, answer: Answer) -> bool:
        return bool(self.bounds) and self.bounds[0][0] <= answer.start and answer.end <= self.bounds[-1][1]


def windows(
    tokenizer: Tokenizer, questions: Iterable[str], contexts: Iterable[str], *, max_tokens: int
) -> list[PairWindow]:
    """The windows of each pair in turn, at least one a pair. tokenizer: one that cuts nothing off."""
    texts = list(contexts)
    distinct = list(dict.fromkeys(texts))
    parts = tokenizer.encode_batch(distinct, add_special_tokens=False)
    known = {text: (part.ids, _bounds(part, text)) for text, part in zip(distinct, parts, strict=True)}
    asked = tokenizer.encode_batch(list(questions))
    return [
        window
        for at, (question, context) in enumerate(zip(asked, texts, strict=True))
        for window in _windows(at, question, *known[context], max_tokens)
    ]


def places(window: PairWindow, answers: Sequence[Answer]) -> tuple[int, int]:
    """The tokens that the first answer that the window holds begins and ends with; NULL, NULL where it holds none."""
    for answer in answers:
        if window.holds(answer):
            inside = [at for at, (start, end) in enumerate(window.bounds) if start < answer.end and answer.start < end]
            if inside:
                return window.first + inside[0], window.first + inside[-1]
    return NULL, NULL


def encoded(parts: Sequence[PairWindow], answers: Sequence[Sequence[Answer]]) -> pa.Table:
    """A row a window, with the places of its answer. answers: of each pair."""
    import pyarrow as pa

    found = [places(each, answers[each.of]) for each in parts]
    columns = {
        "of": pa.array([each.of for each in parts], pa.int64()),
        "input_ids": pa.array([each.ids for each in parts], pa.list_(pa.int32())),
    }
    numbers = {
        "length": [len(each.ids) for each in parts],
        "first": [each.first for each in parts],
        "tokens": [len(each.bounds) for each in parts],
        "start": [start for start, _ in found],
        "end": [end for _, end in found],
    }
    return pa.table(columns | {name: pa.array(values, pa.int32()) for name, values in numbers.items()})


def _windows(
    of: int, question: Encoding, ids: Sequence[int], bounds: Sequence[Bounds], max_tokens: int
) -> Iterator[PairWindow]:
    marks = question.special_tokens_mask
    closing = next((at for at in range(len(marks), 0, -1) if not marks[at - 1]), len(marks))
    tail = question.ids[closing:]
    head = [*question.ids[: max(1, min(closing, max_tokens // _QUESTION - len(tail)))], *tail]
    room = max_tokens - len(head) - len(tail)
    for start in range(0, max(1, len(ids) - room // OVERLAP), room - room // OVERLAP):
        part = slice(start, start + room)
        yield PairWindow(of, [*head, *ids[part], *tail], len(head), bounds[part])


def _bounds(part: Encoding, text: str) -> list[Bounds]:
    """Of each token; byte-level tokens bring the space before them, which is none of the token's."""
    return [(start + len(text[start:end]) - len(text[start:end].lstrip()), end) for start, end in part.offsets]
