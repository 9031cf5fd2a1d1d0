"""What an answer may say: sentences, each with citations that were checked against the passages retrieved. Pure.

A sentence is supported by a passage when all of this holds, whoever wrote it:
- at least SUPPORT of its content words (stems, function words left out) stand in one sentence of the passage, or in two
  neighbours: these are the quote;
- every number, every word with a capital and everything in quotation marks stands in the quote or the heading;
- quote and sentence both deny, or neither does ("not", "never", "no" ...).
It is a measure of words: a sentence that turns around who did what to whom passes. It needs no model, so it cannot be
talked out of anything by a passage.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import regex

from pipelines.search.text.quotable import page_of, quotable
from pipelines.search.text.sentences import Span, sentences, word_set
from pipelines.search.text.terms import stemmer
from pipelines.search.text.words import PAIRED, as_compared, figures_apart

if TYPE_CHECKING:
    from pipelines.search.ask.query import Passage

NOT_HERE = "Not in these documents."
SUPPORT = 0.6  # share of a sentence's content words; half of them is what any two texts about one subject share
_LONGEST = 2000  # characters of a sentence: a text without borders, which a writer may send, is cut there
_LOOP = 3  # sentences said before, in a row: small models end in a circle, and nothing new comes after it
_QUOTED_WORDS = 3  # fewer in quotation marks are a title or a manner of speaking, and hold to the rule of capitals

_MARKS = r"\[\s*\d{1,4}(?:\s*[,;]\s*\d{1,4})*\s*\]"
_MARK = re.compile(rf"\s*{_MARKS}")
_LATE_MARK = re.compile(rf"([.!?。！？]+[\"'”’)]*)((?:\s*{_MARKS})+)")
_MARKUP = re.compile(r"^\s*(?:[-*+•]|#+|\d{1,3}[.)])\s+|\*\*")  # a list's item, a heading, bold
_CONTROL = re.compile(r"[^\S\n]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
_SPACE = re.compile(r"\s+")
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]+)[\"”»]")
_WORD = regex.compile(r"(?V1)[\w--_]+(?:['’][\w--_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


_DENIALS = word_set("not no never none nobody nothing neither nor without cannot")
_FUNCTION = word_set(
    "a about after all also am an and any are as at be because been before being between both but by can could did do",
    "does doing during each for from further had has have having he her here hers him his how i if in into is it its",
    "itself just may me might more most must my of off on once one only or other our out over own s same she should so",
    "some such t than that the their them then there these they this those through to too under until up upon very was",
    "we were what when where which while who whom whose why will with would you your tell give please",
)


@dataclass(frozen=True)
class Citation:
    """A quote: `passages[number - 1].text[start:end] == quote`, so anybody can check it."""

    number: int  # of the passage in the answer, from 1
    document: str
    source: str
    heading: str
    page: int | None  # on which the quote begins
    position: int
    start: int
    end: int
    quote: str


@dataclass(frozen=True)
class Sentence:
    text: str
    citations: tuple[Citation, ...]
    given: bool  # the writer named these passages itself; False: they were found by the check

    @property
    def marked(self) -> str:
        """As it stands in an answer."""
        return self.text + " " + "".join(f"[{each.number}]" for each in self.citations)


@dataclass(frozen=True)
class Dropped:
    """A sentence that a writer wrote and that no answer says."""

    text: str
    reason: str


def checked(pieces: Iterable[str], passages: Sequence[Passage]) -> Iterator[Sentence | Dropped]:
    """A writer's text, as it arrives, sentence by sentence: what the passages support, and what they do not."""
    said: set[str] = set()
    again = 0
    for raw in _whole_sentences(pieces):
        named = [int(number) for mark in _MARK.findall(raw) for number in re.findall(r"\d+", mark)]
        text = _SPACE.sub(" ", _MARKUP.sub("", _MARK.sub("", raw))).strip()
        key = " ".join(words(text))
        again = again + 1 if key in said else 0
        if again == _LOOP:
            return
        if not key or again:
            continue
        said.add(key)
        yield check(text, named, passages)


def check(text: str, named: Sequence[int], passages: Sequence[Passage]) -> Sentence | Dropped:
    """A sentence with the citations that hold: of the passages that it names, else of the one that supports it best."""
    tried = {number: support(text, passage) for number, passage in enumerate(passages, start=1)}
    holds = {number: found for number, found in tried.items() if found is not None}
    if not holds:
        return Dropped(text, _reason(named, passages))
    given = [number for number in dict.fromkeys(named) if number in holds]
    numbers = given or [max(holds, key=lambda number: (holds[number][1], -number))]
    return Sentence(text, tuple(cite(number, passages, *holds[number][0]) for number in numbers), bool(given))


def _reason(named: Sequence[int], passages: Sequence[Passage]) -> str:
    outside = [number for number in named if not 1 <= number <= len(passages)]
    if outside:
        return f"it cites [{outside[0]}], which is no passage, and no passage supports it"
    if named:
        return "the passages that it cites do not support it, and no other does"
    return "no passage supports it"


def cite(number: int, passages: Sequence[Passage], start: int, end: int) -> Citation:
    passage = passages[number - 1]
    page = page_of(passage.page, passage.text, start)
    place = (passage.document, passage.source, passage.heading, page, passage.position)
    return Citation(number, *place, start, end, passage.text[start:end])


def support(text: str, passage: Passage) -> tuple[Span, float] | None:
    """The shortest run of the passage that supports a text best, and the share of its content words that it holds."""
    wanted, facts, denied = set(content(text)), _facts(text), denies(text)
    found: list[tuple[Span, float]] = []
    for run in _runs(passage.text, passage.heading) if wanted else ():
        share = len(wanted & run.content) / len(wanted)
        if share >= SUPPORT and run.denies == denied and facts.stand_in(run.facts):
            found.append((run.span, share))
    return max(found, key=lambda each: (each[1], each[0][0] - each[0][1]), default=None)


def words(text: str) -> list[str]:
    """Words in lower case; of scripts whose words only a dictionary parts, each pair of neighbouring characters."""
    found: list[str] = []
    for run in _WORD.findall(as_compared(text).replace("’", "'")):
        for part in PAIRED.split(run):
            pairs = [one + two for one, two in pairwise(part)] if PAIRED.fullmatch(part) else []
            found += pairs or [part]
    return [word.casefold() for word in found if word]


def content(text: str) -> list[str]:
    """Stems of the words that say something, in order. English stems: words of other languages lose little by them."""
    said: list[str] = stemmer("english").stemWords(
        [word for word in words(text) if word not in _FUNCTION and word not in _DENIALS]
    )
    return said


def denies(text: str) -> bool:
    found = words(text)
    return any(
        (word in _DENIALS and not (word == "no" and after[:1].isdigit())) or word.endswith("n't")
        for word, after in pairwise([*found, ""])
    )


@dataclass(frozen=True)
class _Facts:
    """What a text may not get wrong by a single word. Of a run of a passage: all its words, and its heading's."""

    numbers: frozenset[str]
    names: frozenset[str]  # stems of the words with a capital
    quotes: tuple[str, ...]

    def stand_in(self, run: _Facts) -> bool:
        held = all(quote in run.quotes[0] for quote in self.quotes)
        return held and self.numbers <= run.numbers and self.names <= run.names


def _facts(text: str) -> _Facts:
    names = [word for word in _WORD.findall(as_compared(text)) if any(letter.isupper() for letter in word)]
    quotes = [plain(quote) for quote in _QUOTED.findall(text) if len(words(quote)) >= _QUOTED_WORDS]
    return _Facts(numbers(text), frozenset(content(" ".join(names))), tuple(quotes))


def numbers(text: str) -> frozenset[str]:
    """1,000 and 1000 are one number; 5 and 5.0 are two, as are 10⁶ and 106."""
    found = _NUMBER.findall(unicodedata.normalize("NFKC", figures_apart(text)))
    return frozenset(re.sub(r",(?=\d{3}(?!\d))", "", number) for number in found)


def plain(text: str) -> str:
    """A text as it is compared: white space, letter case and Unicode composition aside."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


@dataclass(frozen=True)
class _Run:
    span: Span
    content: frozenset[str]
    facts: _Facts
    denies: bool


@lru_cache(maxsize=64)
def _runs(text: str, heading: str) -> list[_Run]:
    """Each sentence of a passage, and each two neighbours on a page that both deny, or neither does."""
    alone = [_run(text, span, heading) for span in quotable(heading, text)]
    pairs = [(a.span[0], b.span[1]) for a, b in pairwise(alone) if a.denies == b.denies]
    return [*alone, *(_run(text, span, heading) for span in pairs if "\f" not in text[slice(*span)])]


def _run(text: str, span: Span, heading: str) -> _Run:
    run = text[slice(*span)]
    whole = f"{heading}\n{run}"
    facts = _Facts(numbers(whole), frozenset(content(whole)), (plain(whole),))
    return _Run(span, frozenset(content(run)), facts, denies(run))


def _whole_sentences(pieces: Iterable[str]) -> Iterator[str]:
    """Sentences as soon as they are complete: the next one has begun, and it is no mark of this one."""
    held = ""
    for piece in pieces:
        held = _LATE_MARK.sub(r" \2\1", readable(held + piece))  # late marks stand inside their sentence
        spans = sentences(held)
        if spans and len(held) - spans[-1][0] <= _LONGEST:
            spans = spans[: -2 if held.startswith("[", spans[-1][0]) else -1]
        yield from (held[start:end] for start, end in spans)
        held = held[spans[-1][1] :] if spans else held
    yield from (held[start:end] for start, end in sentences(held))


def readable(text: str) -> str:
    """Without control characters, which a terminal would obey, and without halves of characters."""
    return _CONTROL.sub(" ", text.encode("utf-8", "replace").decode())
