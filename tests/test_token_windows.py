"""Texts as windows of tokens: words and their tags, and spans again, whatever the tokenizer and the text's length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from core.cells.spans import Span, of_tags
from pipelines.tasks.parts import tokens
from pipelines.tasks.parts.entities.token_windows import (
    NO_TAG,
    Tagged,
    Window,
    overlapping,
    spans_of_texts,
    tag_names,
    token_tags,
    whole,
    windows,
    word_tags,
)

TEXTS = ["Ann Miller lives in New York.", "the Bank of England, in London", "naïve Zoë @home 3.14", "日本 and 😀 signs"]
NAMES = tag_names(["loc", "per"])
LETTERS = st.characters(categories=("Lu", "Ll", "Nd"), max_codepoint=0x24F)


def wordpiece() -> Tokenizer:
    """As BERT's: lower case without accents, cut at white space and signs, pieces of words."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


@pytest.fixture(scope="module", params=["wordpiece", "bytes"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer of words' pieces, and one of bytes as those are that are learnt here."""
    if request.param == "wordpiece":
        return wordpiece()
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    tokens.learn(TEXTS, folder, size=300)
    return tokens.read(folder, max_tokens=64)


def said(parts: Sequence[Window], spans: Sequence[Span]) -> list[list[Tagged]]:
    """What a model says that knows the truth."""
    tags = (word_tags(part, spans, NAMES) for part in parts)
    return [
        [Tagged(bounds, NAMES[tag], 1.0) for bounds, tag in zip(part.bounds, numbers, strict=True)]
        for part, numbers in zip(parts, tags, strict=True)
    ]


def through(tokenizer: Tokenizer, text: str, spans: Sequence[Span], *, max_tokens: int) -> list[Span]:
    """The spans as tags of words, and back."""
    parts = windows(overlapping(tokenizer, max_tokens=max_tokens), [text])
    (found,) = spans_of_texts(parts, said(parts, spans), 1)
    return [span for span, _ in found]


def test_a_word_is_a_run_of_letters_or_a_sign(tokenizer: Tokenizer) -> None:
    (part,) = windows(overlapping(tokenizer, max_tokens=64), [TEXTS[0]])
    assert [TEXTS[0][start:end] for start, end in part.bounds] == ["Ann", "Miller", "lives", "in", "New", "York", "."]
    numbers = token_tags(part, range(len(part.bounds)))
    assert [number for number in numbers if number != NO_TAG] == list(range(7))
    assert numbers[0] == numbers[-1] == NO_TAG, "special tokens are no words"


def test_signs_and_other_scripts_are_words(tokenizer: Tokenizer) -> None:
    for text in TEXTS[2:]:
        (part,) = windows(overlapping(tokenizer, max_tokens=64), [text])
        words = [text[start:end] for start, end in part.bounds]
        assert "".join(words) == text.replace(" ", "")
    assert "@" in [TEXTS[2][start:end] for start, end in windows(tokenizer, [TEXTS[2]])[0].bounds]


def test_the_first_word_of_a_span_begins_it_and_side_by_side_they_stay_apart(tokenizer: Tokenizer) -> None:
    text, spans = "Ann Miller London York", [Span(0, 10, "per"), Span(11, 17, "loc"), Span(18, 22, "loc")]
    (part,) = windows(overlapping(tokenizer, max_tokens=64), [text])
    assert [NAMES[tag] for tag in word_tags(part, spans, NAMES)] == ["B-per", "I-per", "B-loc", "B-loc"]
    assert through(tokenizer, text, spans, max_tokens=64) == spans


def test_a_label_that_no_training_row_has_teaches_nothing(tokenizer: Tokenizer) -> None:
    (part,) = windows(overlapping(tokenizer, max_tokens=64), ["Ann lives"])
    assert word_tags(part, [Span(0, 3, "animal")], NAMES) == [NO_TAG, 0]


@given(data=st.data(), max_tokens=st.sampled_from([8, 12, 64]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_spans_come_back_from_the_tags_of_a_text_of_any_length(
    tokenizer: Tokenizer, data: st.DataObject, max_tokens: int
) -> None:
    words = data.draw(st.lists(st.text(LETTERS, min_size=1, max_size=3), min_size=1, max_size=40))
    tags = data.draw(st.lists(st.sampled_from(["O", "O", "B-per", "I-per", "B-loc"]), min_size=len(words)))
    text, spans = of_tags(words, tags[: len(words)])
    assert through(tokenizer, text, spans, max_tokens=max_tokens) == spans


def test_every_word_of_a_long_text_is_told_once(tokenizer: Tokenizer) -> None:
    text = " ".join(chr(97 + number % 26) + chr(97 + number // 26) for number in range(200))
    parts = windows(overlapping(tokenizer, max_tokens=16), [text, "short", text])
    assert [part.of for part in parts] == sorted(part.of for part in parts)
    assert all(len(part.ids) <= 16 for part in parts)
    assert sum(part.of == 1 for part in parts) == 1
    told = whole([words for part, words in zip(parts, said(parts, []), strict=True) if part.of == 0])
    assert [text[start:end] for start, end in (word.bounds for word in told)] == text.split()


def test_of_an_overlap_each_window_tells_the_half_that_lies_deeper_in_it() -> None:
    one = [Tagged((at, at + 1), "first", 1.0) for at in range(8)]
    two = [Tagged((at, at + 1), "second", 1.0) for at in range(4, 12)]
    assert [word.tag for word in whole([one, two])] == ["first"] * 6 + ["second"] * 6


def test_a_word_longer_than_a_window_is_lost_to_no_other(tokenizer: Tokenizer) -> None:
    text = f"Ann {'x1y2z3' * 20} London"
    found = through(tokenizer, text, [Span(0, 3, "per"), Span(len(text) - 6, len(text), "loc")], max_tokens=10)
    assert found[0] == Span(0, 3, "per")
    assert found[-1] == Span(len(text) - 6, len(text), "loc")


def test_a_text_without_words_has_no_spans(tokenizer: Tokenizer) -> None:
    parts = windows(overlapping(tokenizer, max_tokens=16), ["", " \n "])
    assert [list(part.bounds) for part in parts] == [[], []]
    assert list(spans_of_texts(parts, said(parts, []), 2)) == [[], []]


def test_how_sure_a_span_is() -> None:
    """The mean over its words; tags that nobody would write begin a span."""
    words = [Tagged((0, 1), "I-per", 0.5), Tagged((2, 3), "I-per", 1.0), Tagged((4, 5), "I-loc", 0.25)]
    part = Window(0, [1, 2, 3], [0, 1, 2], [word.bounds for word in words])
    assert list(spans_of_texts([part], [words], 1)) == [[(Span(0, 3, "per"), 0.75), (Span(4, 5, "loc"), 0.25)]]
