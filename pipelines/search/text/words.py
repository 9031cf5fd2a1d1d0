"""A text -> the words that BM25 counts, in every script, by Unicode's properties of characters (UAX 44, UAX 29).

A letter's marks belong to its word, and what is not seen (soft hyphens, joiners, marks of direction) to none. Scripts
without spaces between words give overlapping pairs of characters, as Lucene's CJK analyser does, and so does Hangul:
Korean writes particles on to its nouns. The pairs need no dictionary and find as much (docs/retrieval.md).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise

import regex

from pipelines.search.text.sentences import word_set

_LONGEST = 64  # characters of a word; what is longer is none, and only its beginning tells it apart

# Line_Break=SA are the scripts of South-East Asia whose words only a dictionary parts: Thai, Lao, Khmer, Burmese ...
_CJK = r"[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}]"
_SPACELESS = rf"[[\p{{LB=SA}}{_CJK}]&&\w]"
_IN_PAIRS = rf"[{_SPACELESS}\p{{Hang}}]"
PAIRED = regex.compile(rf"(?V1)({_IN_PAIRS}+)")  # runs of characters whose words are pairs
_RUN = regex.compile(rf"(?V1)(?P<spaceless>{_SPACELESS}+)|(?P<hangul>\p{{Hang}}+)|(?P<word>[\w--{_IN_PAIRS}]+)")

_UNSEEN = r"[\p{Cf}\p{DI}\u0640]"  # with the line that only stretches Arabic words, and variants of characters
_HIDDEN = regex.compile(rf"(?V1){_UNSEEN}+")
# Persian and its neighbours write the parts of a word with this between them, or a space.
_ARABIC_PARTS = regex.compile(r"(?V1)(?<=[\p{Arab}\p{M}])\u200c(?=\p{Arab})")
# Letters to the scripts that write them inside words; elsewhere they are apostrophes and quotation marks.
_INSIDE = r"(?<=[\p{Cyrl}\p{Hebr}\p{Armn}]\p{M}*)['\"’ʼ‘՚-՞׳״]+(?=[\p{Cyrl}\p{Hebr}\p{Armn}])"
_JOINED = regex.compile(rf"(?V1){_INSIDE}")
_ACCENTS = regex.compile(r"(?V1)(?<=[\p{Grek}\p{Cyrl}]\p{M}*|i)[\u0300-\u036f]+")
_ACCENTED = regex.compile(r"[\p{Grek}\p{Arab}\p{Hebr}]")  # scripts whose accents and points may be left out
_DIGIT = regex.compile(r"(?V1)[\p{Nd}--[0-9]]")  # of any script
_FIGURE = re.compile(r"(?<=\d)(?=[⁰¹²³⁴-⁹₀-₉¼-¾⅐-⅞])")  # between a number and a raised one, a lowered one, a fraction
_SEEN = regex.compile(rf"(?V1)\w(?:\w|{_UNSEEN}|{_INSIDE})*")

# Latin letters and common marks without anything that is hidden: for these the rule below gives the same, faster.
_LATIN = re.compile("[\x00-\xac\xae-\u012f\u0132-\u02af\u1e00-\u1eff\u2010-\u2027\u2030-\u205e\u20a0-\u2bff]*")
_LATIN_RUN = re.compile(r"\w{2,}")  # a single letter is a list's, or left of "don't"
_ASCII_RUN = re.compile(r"\w{2,}", re.ASCII)

# What Korean writes on to a noun (particles, the copula), by itself and with another behind it.
_PARTICLES = word_set(
    "은 는 이 가 을 를 에 의 도 만 로 와 과 랑 께 야 나 요 에서 에게 한테 으로 부터 까지 처럼 보다 마다",
    "조차 마저 이나 이랑 라고 이라 하고 께서 라는 이란 이다 이며 이고 입니다 이었다 였다",
)
_ON_A_NOUN = _PARTICLES | {one + two for one in _PARTICLES for two in ("는", "도", "만", "의", "은", "라도")}

_HAN = regex.compile(r"\p{Han}")  # each may be a word by itself; kana hardly ever
_HEBREW = regex.compile(r"\p{Hebr}{4}")
_HEBREW_PREFIXES, _HEBREW_ROOT = frozenset("ושהבלמכ"), 3  # what stays has that many letters


@cache
def _folded() -> Mapping[int, str | None]:
    """Characters that are written in two ways -> the one that counts.

    Vowel points of Arabic and Hebrew, which texts leave out; hamza and accents, which haste and capitals leave out;
    Persian letters that stand for Arabic ones.
    """
    found: dict[int, str | None] = dict(zip(map(ord, "Ёёیىکہھ"), "Ееييكهه", strict=True))
    for code in (*range(0x370, 0x700), *range(0x8A0, 0x900), *range(0x1F00, 0x2000)):
        first, *marks = list(unicodedata.normalize("NFD", chr(code)))
        if unicodedata.category(first) == "Mn" and code > 0x590:
            found[code] = None
        elif _ACCENTED.match(first) and marks and all(unicodedata.category(each) == "Mn" for each in marks):
            found[code] = first
    return found


def words(text: str, *, turkish: bool = False, asked: bool = False) -> Iterable[str]:
    """The words of a text, before they are stemmed.

    turkish: i and ı are two letters, with a capital each. asked: of a question. A text gives each Chinese and Japanese
    character by itself too, so that a question of one character finds it; a question gives those that stand alone.
    """
    if turkish:
        text = unicodedata.normalize("NFC", text).replace("I", "ı").replace("İ", "i")
    if text.isascii():  # four times as fast, the same words
        return (run[:_LONGEST] for run in _ASCII_RUN.findall(text.lower()))
    if _LATIN.fullmatch(text):
        text = unicodedata.normalize("NFKC", figures_apart(text)).casefold()
        return (run[:_LONGEST] for run in _LATIN_RUN.findall(text))
    return _words(as_compared(text).casefold(), asked=asked)


def figures_apart(text: str) -> str:
    """A text in which 10⁶, 2024¹ and 5½ are two numbers each: NFKC alone makes them 106, 20241, 51/2."""
    return _FIGURE.sub(" ", text)


def as_compared(text: str) -> str:
    """A text without what is not seen or may be left out, its characters in the one way in which they are compared."""
    text = _HIDDEN.sub("", _ARABIC_PARTS.sub(" ", figures_apart(text)))
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(_folded()))
    text = _DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), text)
    return str(_JOINED.sub("", _ACCENTS.sub("", text.replace("İ", "I"))))


def _words(text: str, *, asked: bool) -> Iterator[str]:
    for run in _RUN.finditer(text):
        found = run[0]
        if run["word"]:
            if len(found) > 1 or (found.isalpha() and found.upper() == found.lower()):
                yield found[:_LONGEST]
                yield from _behind_prefixes(found) if _HEBREW.match(found) else []
        else:
            yield from [one + two for one, two in pairwise(found)]
            if run["hangul"]:
                yield from [found[0]] if len(found) == 1 or found[1:] in _ON_A_NOUN else []
            elif len(found) == 1:
                yield found
            elif not asked:
                yield from _HAN.findall(found)


def _behind_prefixes(word: str) -> Iterator[str]:
    """A Hebrew word without "and", "that", "the", "in", "to", "from", "as", which are written on to it."""
    while word[0] in _HEBREW_PREFIXES and len(word) > _HEBREW_ROOT:
        word = word[1:]
        yield word[:_LONGEST]


def pieces(text: str) -> Iterator[tuple[int, int]]:
    """Where words of a text stand in it, as it is written; where words are pairs, each character and each pair."""
    for run in _SEEN.finditer(text):
        for part in _parts(run[0]):
            start, end = run.start() + part[0], run.start() + part[1]
            if not PAIRED.search(text, start, end):
                yield start, end
                continue
            for at in range(start, end):
                yield at, at + 1
                yield from [(at, at + 2)] if at + 2 <= end else []


def _parts(run: str) -> Iterator[tuple[int, int]]:
    """A run, cut where the kind of its characters changes."""
    start = 0
    for cut in (*(found.start() for found in _ARABIC_PARTS.finditer(run)), len(run)):
        at = start
        for found in PAIRED.finditer(run, start, cut):
            yield from [(at, found.start())] if at < found.start() else []
            yield found.span()
            at = found.end()
        yield from [(at, cut)] if at < cut else []
        start = cut
