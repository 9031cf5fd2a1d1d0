"""Labelled spans of a text, as a cell of a table keeps them: one JSON list, sorted by start, without white space.

[{"start":0,"end":6,"label":"location"}]: the characters text[0:6] are a location. Spans of one text do not overlap.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from core.tables.keys import label_name

_TAG = re.compile(r"O|[BIESLU]-\S.*")
_SHOWN_CHARS = 60


class Span(NamedTuple):
    """The characters from `start` up to, but without, `end`, and what they are."""

    start: int
    end: int
    label: str


def told(value: Any, text: str | None) -> tuple[str | None, str | None]:
    """A cell as a table of examples has it, and what is wrong with it, or None.

    value: a list of mappings with start, end and label, or the same as JSON text; further keys are left out.
    text: what the spans are of; None where it could not be read, and then only their form is looked at.
    White space at the ends of a span is taken off it.
    """
    if value is None:
        return None, None
    try:
        spans = _spans(json.loads(value) if isinstance(value, str) else value)
        if text is not None:
            spans = [_trimmed(span, text) for span in spans]
        _refuse_overlaps(spans := sorted(spans))
    except (ValueError, RecursionError) as error:
        fault = "not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        return (value if isinstance(value, str) else None), fault
    return written(spans), None


def written(spans: Sequence[Span]) -> str:
    """The text that listed() reads."""
    return json.dumps([span._asdict() for span in spans], ensure_ascii=False, separators=(",", ":"))


def listed(cell: str) -> list[Span]:
    """The spans of a cell that told() or written() wrote."""
    return [Span(each["start"], each["end"], each["label"]) for each in json.loads(cell)]


def entities(tags: Sequence[str]) -> list[Span]:
    """The entities that a sequence of tags stands for, `start` and `end` counted in tags.

    Reads IOB1, IOB2, BIOES and BILOU alike, as conlleval does: an entity begins at B, S and U, and wherever I, E or L
    follow no open entity of their label; it ends at E, S, L and U, and before whatever does not go on with it.
    Source: Tjong Kim Sang and Veenstra 1999, "Representing Text Chunks". Checked against a table of cases in the tests.
    """
    found: list[Span] = []
    goes_on = False
    for at, tag in enumerate(tags):
        part, label = tag[0], str(label_name(tag[2:]))
        if part == "O":
            goes_on = False
            continue
        if goes_on and part in "IEL" and found[-1].label == label:
            found[-1] = found[-1]._replace(end=at + 1)
        else:
            found.append(Span(at, at + 1, label))
        goes_on = part in "BI"
    return found


def of_tags(tokens: Sequence[str], tags: Sequence[str]) -> tuple[str, list[Span]]:
    """The tokens as one text, joined by single spaces, and the entities of their tags as spans of it.

    Raises ValueError where tokens and tags are not as many, or tag_fault() finds something.
    """
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens and {len(tags)} tags")
    for at, (token, tag) in enumerate(zip(tokens, tags, strict=True), start=1):
        if fault := tag_fault(token, tag):
            raise ValueError(f"token {at}: {fault}")
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token) + 1)
    spans = [Span(starts[first], starts[last] - 1, label) for first, last, label in entities(tags)]
    return " ".join(tokens), spans


def tag_fault(token: Any, tag: Any) -> str | None:
    """What is wrong with a token and its tag, or None."""
    if not isinstance(token, str) or not token.strip():
        return f"{_shown(token)} is no word"
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        return f"{_shown(tag)} is no tag (allowed: O, and B-, I-, E-, S-, L- or U- before a label)"
    return None


def _spans(value: Any) -> list[Span]:
    if not isinstance(value, list):
        raise ValueError(f"not a list of spans but {_shown(value)}")
    return [_span(each) for each in value]


def _span(value: Any) -> Span:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is no span: {{start, end, label}} is meant")
    start, end, label = _place(value, "start"), _place(value, "end"), label_name(value.get("label"))
    if not isinstance(value.get("label"), str) or not label:
        raise ValueError(f"the label of {_shown(value)} is no text")
    if not 0 <= start < end:
        raise ValueError(f"{_shown(value)} cuts nothing out: 0 <= start < end is meant")
    return Span(start, end, label)


def _place(value: dict[str, Any], name: str) -> int:
    place = value.get(name)
    if not isinstance(place, int) or isinstance(place, bool):
        raise ValueError(f"the {name} of {_shown(value)} is no whole number")
    return place


def _trimmed(span: Span, text: str) -> Span:
    if span.end > len(text):
        raise ValueError(f"{_shown(span._asdict())} ends behind the text's {len(text)} characters")
    cut = text[span.start : span.end]
    if not cut.strip():
        raise ValueError(f"{_shown(span._asdict())} holds white space only")
    return Span(span.start + len(cut) - len(cut.lstrip()), span.end - len(cut) + len(cut.rstrip()), span.label)


def _refuse_overlaps(spans: Sequence[Span]) -> None:
    for one, two in pairwise(spans):
        if two.start < one.end:
            raise ValueError(f"{_shown(one._asdict())} and {_shown(two._asdict())} overlap")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
