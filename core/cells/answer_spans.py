"""Answers that stand in a text word for word, as a cell of a table keeps them: one JSON list without white space.

[{"start":159,"end":165,"text":"France"}]: the characters context[159:165] answer the question. Any of several is right;
the one that is given most often comes first. An empty list says that the text does not answer the question.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_SHOWN_CHARS = 60
_STARTS = ("start", "answer_start")  # what a source calls the place of an answer's first character
_LISTS = {"text", "answer_start"}  # of the hub's SQuAD: two lists, an entry an answer


class Answer(NamedTuple):
    """The characters from `start` up to, but without, `end`, which are `text`."""

    start: int
    end: int
    text: str


def told(value: Any, context: str | None) -> tuple[str | None, str | None]:
    """A cell as a table of examples has it, and what is wrong with it, or None.

    value: a list of texts, or of mappings with text and start (or answer_start); {"text": [...], "answer_start":
    [...]}; any of these as JSON text; or one answer's text. An answer without a start is looked for in the context.
    context: what the answers are of. Of none, or a blank one, nothing is said: that is what is wrong with the row.
    White space at the ends of an answer is taken off it.
    """
    if value is None or value == "":
        return None, None
    if context is None or not context.strip():
        return json.dumps(value if isinstance(value, list) else [value], default=str), None
    try:
        found = Counter(_found(each, context) for each in _each(_read(value)))
    except (ValueError, RecursionError) as error:
        fault = "not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        return (value if isinstance(value, str) else None), fault
    return written(sorted(found, key=lambda answer: (-found[answer], answer))), None


def written(answers: Sequence[Answer]) -> str:
    """The text that listed() reads."""
    return json.dumps([answer._asdict() for answer in answers], ensure_ascii=False, separators=(",", ":"))


def listed(cell: str) -> list[Answer]:
    """The answers of a cell that told() or written() wrote."""
    return [Answer(each["start"], each["end"], each["text"]) for each in json.loads(cell)]


def _read(value: Any) -> Any:
    """What JSON text says; any other text is an answer."""
    if not isinstance(value, str):
        return value
    return json.loads(value) if value.lstrip().startswith(("[", "{")) else [value]


def _each(value: Any) -> Iterable[Any]:
    """The answers, each a text or a mapping."""
    if isinstance(value, Mapping) and value.keys() >= _LISTS:
        texts, starts = value["text"], value["answer_start"]
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise ValueError(f"{_shown(value)}: as many texts as starts are meant")
        return [{"text": text, "start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(value, list):
        raise ValueError(f"not a list of answers but {_shown(value)}")
    return value


def _found(value: Any, context: str) -> Answer:
    """Where an answer stands, white space at its ends left out. Raises ValueError where it does not stand there."""
    text, start = _said(value)
    if not text.strip():
        raise ValueError(f"the answer {_shown(value)} is empty")
    if start is None:
        start = _place(text.strip(), context)
    elif context[start : start + len(text)] != text:
        there = context[start : start + len(text)]
        raise ValueError(f"{_shown(text)} does not stand at character {start} of the context: {_shown(there)} does")
    else:
        start += len(text) - len(text.lstrip())
    text = text.strip()
    return Answer(start, start + len(text), text)


def _said(value: Any) -> tuple[str, int | None]:
    """The text of an answer, and where it is said to begin, if it is."""
    if isinstance(value, str):
        return value, None
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str):
        raise ValueError(f"{_shown(value)} is no answer: a text, or {{text, start}}, is meant")
    start = next((value[name] for name in _STARTS if value.get(name) is not None), None)
    if start is not None and (not isinstance(start, int) or isinstance(start, bool) or start < 0):
        raise ValueError(f"the start of {_shown(value)} is no whole number from 0 on")
    return value["text"], start


def _place(text: str, context: str) -> int:
    """Where a text begins: where it stands as whole words first, else where it stands at all."""
    places = list(_places(text, context))
    if not places:
        raise ValueError(f"{_shown(text)} is not in the context")
    return next((place for place in places if _whole_words(text, context, place)), places[0])


def _places(text: str, context: str) -> Iterator[int]:
    return (match.start() for match in re.finditer(re.escape(text), context))


def _whole_words(text: str, context: str, place: int) -> bool:
    before, after = context[:place][-1:], context[place + len(text) :][:1]
    return not (before.isalnum() and text[0].isalnum()) and not (after.isalnum() and text[-1].isalnum())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
