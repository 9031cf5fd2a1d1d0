"""BM25's terms and weights, against bm25s."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import bm25s
import numpy as np
import pytest
import Stemmer
from hypothesis import given, settings
from hypothesis import strategies as st

from core.manifest import write_manifest
from pipelines.search.text.term_table import Postings, weigh, write_terms
from pipelines.search.text.terms import Analyser, average
from pipelines.search.text.words import words

TEXTS = [
    "The river rose in the night, and the lower fields were under water by morning.",
    "Nobody in the village had seen such a flood before; floods came in spring, not in autumn.",
    "A band played in the square. The trombone player left the band for another band.",
    "Rivers and bands: two words that seldom meet.",
    "It was not to be.",
]


def scores(question: str) -> list[float]:
    """BM25 of every text, by our terms and weights and the IDF that Qdrant applies."""
    analyser = Analyser("english")
    terms = [analyser.terms(text) for text in TEXTS]
    mean = sum(sum(each.values) for each in terms) / len(terms)
    held = [dict(zip((w := weigh(analyser, text, mean)).ids, w.values, strict=True)) for text in TEXTS]
    seen = Counter(term for each in held for term in each)
    asked = analyser.terms(question)
    return [
        sum(
            count * each.get(term, 0.0) * math.log(1 + (len(TEXTS) - seen[term] + 0.5) / (seen[term] + 0.5))
            for term, count in zip(asked.ids, asked.values, strict=True)
        )
        for each in held
    ]


@pytest.mark.parametrize("question", ["flooded rivers", "the band, the band!", "water under fields", "nothing here"])
def test_scores_are_those_of_bm25s(question: str) -> None:
    """bm25s leaves the factor k1 + 1 out, which changes no order."""
    stemmer = Stemmer.Stemmer("english")
    tokens = bm25s.tokenize(TEXTS, stopwords="en", stemmer=stemmer, show_progress=False)
    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index(tokens, show_progress=False)
    asked = bm25s.tokenize(question, stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False)[0]
    expected = index.get_scores(asked) if asked else np.zeros(len(TEXTS))
    np.testing.assert_allclose(scores(question), expected * 2.2, rtol=1e-5, atol=1e-6)


def test_scripts_without_spaces_give_pairs_of_characters() -> None:
    pairs = ["河流", "流在", "在夜", "夜里", "里上", "上涨"]
    assert list(words("河流在夜里上涨", asked=True)) == pairs
    assert list(words("河流在夜里上涨")) == [*pairs, *"河流在夜里上涨"]  # a question may be one of them
    assert list(words("2024年 report")) == ["2024", "年", "report"]
    assert list(words("แม่น้ำ")) == ["แม", "ม่", "่น", "น้", "้\u0e4d", "\u0e4dา"]
    assert list(words("도서관은", asked=True)) == list(words("도서관은")) == ["도서", "서관", "관은"]


def test_the_ascii_way_gives_the_same_words() -> None:
    for text in TEXTS:
        assert list(words(text)) == list(words(text + " ü"))


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_has_terms_whose_counts_add_up(text: str) -> None:
    analyser = Analyser("none")
    found = analyser.terms(text)
    assert sum(found.values) == len(list(words(text)))
    assert list(found.ids) == sorted(set(found.ids))
    assert all(0 <= term < 2**32 for term in found.ids)


def test_each_language_has_its_stems() -> None:
    assert Analyser("german").terms("Häuser").ids == Analyser("german").terms("Häusern").ids
    assert Analyser("none").terms("floods").ids != Analyser("none").terms("flood").ids


def test_the_average_hardly_moves_with_an_edit() -> None:
    assert average(100_000, 1000) == average(100_020, 1000)
    assert average(100_000, 1000) == pytest.approx(100, rel=0.006)
    assert average(0, 0) == 1.0


def subset(texts: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    return {key: texts[key] for key in keys}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sets(st.sampled_from([*TEXTS, ""])), min_size=2, max_size=4))
def test_terms_that_were_taken_over_are_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, states) -> None:
    root = tmp_path_factory.mktemp("terms")
    earlier = root / "none"
    for number, held in enumerate(states):
        texts = {f"key of {text}": text for text in held}
        folder, anew = root / str(number), root / f"anew-{number}"
        for each, before in ((folder, earlier), (anew, root / "none")):
            each.mkdir()
            facts = write_terms(each, sorted(texts), partial(subset, texts), before, Analyser("english"))
            write_manifest(each, {"terms": facts})
        assert (folder / "terms.parquet").read_bytes() == (anew / "terms.parquet").read_bytes()
        earlier = folder
        postings = Postings.read(folder)
        for key, text in texts.items():
            expected = weigh(Analyser("english"), text, postings.average)
            assert list(postings.of(key).ids) == list(expected.ids)
            np.testing.assert_allclose(postings.of(key).values, expected.values)
