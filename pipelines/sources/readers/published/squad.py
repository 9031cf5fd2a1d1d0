"""squad: questions about paragraphs in the JSON layout of SQuAD 1.1 and 2.0, a row a question.

{"data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [{"question", "id", "answers": [{"text",
"answer_start"}], "is_impossible"}]}]}]}. A row's place is a JSON pointer (RFC 6901).
Source: Rajpurkar et al. 2018, "Know What You Don't Know: Unanswerable Questions for SQuAD".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import BYTE_ORDER_MARK, files_of, open_text, readable, undecoded

SUFFIXES = ()  # a .json file may be anything: `reader: squad` says it
COLUMNS = ("question", "context", "answers", "id", "title", "is_impossible")
_NAMES = (".json",)


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    for found in files_of(files, _NAMES):
        yield Table(found.name, COLUMNS, _records(found, data.encoding))


def _records(found: Found, encoding: str) -> Iterator[Record]:
    with open_text(found, encoding) as file, readable(found, encoding):
        text = file.read().removeprefix(BYTE_ORDER_MARK)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{found.name}: not JSON ({error}). Fetch {found.path} again.") from None
    articles = whole.get("data") if isinstance(whole, dict) else None
    if not isinstance(articles, list):
        raise BadRequest(
            f'{found.name}: no list under "data", where SQuAD has its articles. Rows of question, context and answers '
            "are read without `reader: squad`."
        )
    for at, article in enumerate(articles):
        place = f"{found.name}#/data/{at}"
        for number, paragraph in enumerate(_list(article, "paragraphs", place)):
            yield from _of_paragraph(article, paragraph, f"{place}/paragraphs/{number}", encoding)


def _of_paragraph(article: dict[str, Any], paragraph: Any, place: str, encoding: str) -> Iterator[Record]:
    """The questions of a paragraph. One that is no object is a row with that fault."""
    for at, asked in enumerate(_list(paragraph, "qas", place)):
        here = f"{place}/qas/{at}"
        if not isinstance(asked, dict):
            yield Record({}, here, fault=f"not a question but {type(asked).__name__}", raw=json.dumps(asked))
            continue
        values = {name: asked.get(name) for name in ("question", "answers", "id")}
        values |= {"context": paragraph.get("context"), "title": article.get("title")}
        values["is_impossible"] = asked.get("is_impossible", not values["answers"])
        texts = (value for value in values.values() if isinstance(value, str))
        fault = next((fault for text in texts if (fault := undecoded(text, encoding))), None)
        fault = fault or _contradiction(values)
        yield Record(values, here, fault=fault)


def _contradiction(values: dict[str, Any]) -> str | None:
    """What is wrong with a question that is said to be impossible and has answers, or the other way round."""
    if values["is_impossible"] and values["answers"]:
        return "is_impossible, and it has answers"
    if not values["is_impossible"] and values["answers"] == []:
        return "not is_impossible, and it has no answers"
    return None


def _list(value: Any, name: str, place: str) -> list[Any]:
    """A list of an object. Raises BadRequest where there is none: the file is of another layout."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise BadRequest(f'{place}: no list under "{name}". SQuAD\'s layout is data, paragraphs, qas.')
    return found
