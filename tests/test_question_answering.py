"""Answers out of a context: windows, the metrics, the threshold, both methods, the faults that the contract tells."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer

from core.cells.answer_spans import Answer, told
from core.schema.model import Method, Model
from core.tables.statistics import whole
from core.tables.task import Base, Exportable, Place, Task
from core.weights.base_store import FOLDER
from core.workspace import Workspace as Root
from pipelines.collect import collect
from pipelines.settings import settings
from pipelines.tasks import find_task
from pipelines.tasks.parts import tokens
from pipelines.tasks.parts.extraction import answer_search, answer_texts, simple_answers
from pipelines.tasks.parts.extraction.answer_predictor import AnswerPredictor
from pipelines.tasks.parts.extraction.pair_windows import NULL, Options, PairWindow, places, windows
from pipelines.train.batches import EncodedRows
from pipelines.validate import validate
from tests.conftest import Workspace, copy_code
from tests.places import a_learner, a_place
from tests.samples import pin_base
from tests.samples.question_answering import question_rows
from tests.small_pairs import make_base
from tests.test_token_classification import saved_apart
from tests.test_token_windows import wordpiece

TEXTS = ["Ann Miller lives in New York.", "the Bank of England, in London", "naïve Zoë @home 3.14", "日本 and 😀 signs"]


def table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table of examples has them."""
    cells = [told(row["answers"], row["context"])[0] for row in rows]
    return pd.DataFrame(rows).assign(
        answers=pd.Series(cells, dtype=object), row_id=[f"r{at}" for at in range(len(rows))]
    )


ROWS = table(question_rows(40))


# --- windows ---


@pytest.fixture(scope="module", params=["wordpiece", "bytes"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    if request.param == "wordpiece":
        return wordpiece()
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    tokens.learn(TEXTS, folder, size=300)
    found = tokens.read(folder, max_tokens=4)
    found.no_truncation()
    return found


@pytest.mark.parametrize("max_tokens", [32, 48, 512])
def test_windows_hold_the_whole_context_and_give_its_characters_back(tokenizer: Tokenizer, max_tokens: int) -> None:
    context = " ".join(TEXTS * 3)
    alone = tokenizer.encode(context, add_special_tokens=False)
    parts = windows(tokenizer, ["who lives?"], [context], max_tokens=max_tokens)
    assert len(parts) == 1 or max_tokens < 512
    known = {(end, number) for (_, end), number in zip(alone.offsets, alone.ids, strict=True)}
    seen = set()
    for part in parts:
        assert len(part.ids) <= max_tokens
        assert part.first + len(part.bounds) + 1 == len(part.ids), "the closing mark alone stands behind the context"
        for at, (start, end) in enumerate(part.bounds):
            assert context[start:end].strip() == context[start:end]
            seen.add((end, part.ids[part.first + at]))
    assert seen == known


def test_every_answer_no_longer_than_an_overlap_is_whole_in_a_window(tokenizer: Tokenizer) -> None:
    context = " ".join(TEXTS * 3)
    parts = windows(tokenizer, ["who?"], [context], max_tokens=40)
    assert len(parts) > 2
    for text in ("New York", "London", "Zoë", "3.14"):
        for start in (at for at in range(len(context)) if context.startswith(text, at)):
            answer = Answer(start, start + len(text), text)
            found = [(part, places(part, [answer])) for part in parts if part.holds(answer)]
            assert found
            for part, (first, last) in found:
                cut = part.bounds[first - part.first][0], part.bounds[last - part.first][1]
                assert context[slice(*cut)] == text


@pytest.mark.parametrize("max_tokens", [32, 40, 57])
@pytest.mark.parametrize("question", ["who?", "who lives? " * 50])
def test_some_window_holds_every_answer_that_the_options_allow(
    tokenizer: Tokenizer, max_tokens: int, question: str
) -> None:
    context = " ".join(TEXTS * 4)
    ends = windows(tokenizer, [""], [context], max_tokens=4096)[0].bounds
    parts = windows(tokenizer, [question], [context], max_tokens=max_tokens)
    longest = Options(max_tokens=max_tokens).longest
    assert longest == max_tokens // 8
    for first, last in zip(ends, ends[longest - 1 :], strict=False):
        answer = Answer(first[0], last[1], context[first[0] : last[1]])
        assert any(part.holds(answer) for part in parts)


def test_answers_that_no_window_might_hold_are_refused() -> None:
    assert Options().longest == 30
    with pytest.raises(ValidationError, match="max_answer_tokens must be at most 16, an eighth of max_tokens"):
        Options(max_tokens=128, max_answer_tokens=30)


def test_a_window_without_the_answer_points_at_none(tokenizer: Tokenizer) -> None:
    context = " ".join(TEXTS * 3)
    parts = windows(tokenizer, ["who?"], [context], max_tokens=40)
    assert places(parts[-1], [Answer(0, 3, "Ann")]) == (NULL, NULL)
    assert places(parts[0], []) == (NULL, NULL)


def test_a_long_question_leaves_half_of_the_room(tokenizer: Tokenizer) -> None:
    (first, *_) = windows(tokenizer, ["who lives? " * 50], ["Ann Miller"], max_tokens=40)
    assert first.first == 20
    assert first.ids[19] == first.ids[-1], "the mark behind the question stays"


# --- the best span ---


def test_the_best_answer_is_that_of_a_plain_search() -> None:
    """Against every span of a window tried one by one; question, closing mark and longer spans count for nothing."""
    random = np.random.default_rng(1)
    for count, longest in ((1, 5), (7, 3), (12, 30)):
        scores = random.normal(size=(4 + count + 1, 2))
        part = PairWindow(0, [0] * len(scores), 4, [(10 * at, 10 * at + 5) for at in range(count)])
        tried = {
            (first, last): scores[4 + first, 0] + scores[4 + last, 1]
            for first in range(count) for last in range(first, min(count, first + longest))
        }  # fmt: skip
        first, last = max(tried, key=lambda each: tried[each])
        found = answer_search.best_answer(scores, part, longest=longest)
        assert found.bounds == (10 * first, 10 * last + 5)
        assert found.margin == pytest.approx(tried[first, last] - scores[0].sum())
        allowed = np.exp(scores[[0, *range(4, 4 + count)]])
        assert found.sure == pytest.approx(np.exp(tried[first, last]) / allowed.sum(axis=0).prod())
        assert found.none == pytest.approx(allowed[0].prod() / allowed.sum(axis=0).prod())


def test_a_context_without_a_token_has_no_answer() -> None:
    assert (
        answer_search.best_answer(np.zeros((3, 2)), PairWindow(0, [1, 2, 3], 2, []), longest=3) == answer_search.NOTHING
    )


# --- metrics ---


# Worked out by hand; those marked * are of the examples in SQuAD's own evaluation script (Rajpurkar et al. 2018).
CASES = [
    ("The Norman Conquest!", ["norman conquest"], 1.0, 1.0),  # articles, case and punctuation count for nothing *
    ("in the 10th century", ["10th century", "the 11th"], 0.8, 0.0),  # 2 of 3 said words are right, of 2 true ones
    ("France", ["Denmark"], 0.0, 0.0),
    ("", [], 1.0, 1.0),  # no answer, rightly *
    ("France", [], 0.0, 0.0),
    ("", ["France"], 0.0, 0.0),
    ("the", ["the"], 1.0, 1.0),  # nothing is left of either
    ("new new york", ["new york"], 0.8, 0.0),  # a word counts as often as it is there
]


def predictions(said: Sequence[str], true: Sequence[Sequence[str]]) -> dict[str, Any]:
    cells = [json.dumps([{"start": 0, "end": len(t), "text": t} for t in each], separators=(",", ":")) for each in true]
    return {
        "predicted": np.array(said, dtype=object), "confidence": np.ones(len(said)),
        "answers": np.array(cells, dtype=object),
    }  # fmt: skip


def test_metrics_are_those_of_squad() -> None:
    said, true, f1, exact = zip(*CASES, strict=True)
    measured = answer_texts.measure(predictions(said, true))
    np.testing.assert_allclose(measured["f1"], f1)
    np.testing.assert_allclose(measured["exact"], exact)
    found = whole(answer_texts.score, measured)
    with_answer = [f1 for f1, true in zip(f1, true, strict=True) if true]
    assert found == pytest.approx(
        {
            "f1": np.mean(f1), "exact_match": np.mean(exact), "f1_answerable": np.mean(with_answer),
            "answerability": 6 / 8,
        }
    )  # fmt: skip


def test_weights_count_rows_as_often_as_they_say() -> None:
    said, true, *_ = zip(*CASES, strict=True)
    weights = np.array([2.0, 0, 1, 3, 0, 1, 1, 2])
    again = [at for at, times in enumerate(weights) for _ in range(int(times))]
    repeated = answer_texts.measure(predictions([said[at] for at in again], [true[at] for at in again]))
    weighted = answer_texts.score(answer_texts.measure(predictions(said, true)), weights)
    assert weighted == pytest.approx(whole(answer_texts.score, repeated))


def test_where_no_question_has_an_answer_nothing_is_divided_by_nothing() -> None:
    found = whole(answer_texts.score, answer_texts.measure(predictions(["", "x"], [[], []])))
    assert found == {"f1": 0.5, "exact_match": 0.5, "f1_answerable": 0.0, "answerability": 0.5}


def test_a_right_answer_is_told_in_the_words_that_were_said() -> None:
    said, true, f1, _ = zip(*CASES, strict=True)
    told_of = answer_texts.by_row(predictions(said, true))
    assert told_of.said is not None and told_of.true is not None
    np.testing.assert_allclose(told_of.error, 1 - np.array(f1))
    assert told_of.true[1] == "10th century", "of several the nearest"
    assert (told_of.said[3], told_of.true[5], told_of.true[4]) == ("no answer", "France", "no answer")


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_that_of_a_plain_search(seed: int) -> None:
    """Against every threshold between two margins tried one by one."""
    random = np.random.default_rng(seed)
    margins = random.integers(-5, 6, 30).astype(float)
    there = random.random(30) < 0.5
    answered, silent = np.where(there, random.random(30), 0.0), np.where(there, 0.0, 1.0)

    def mean(threshold: float) -> float:
        return float(np.where(margins > threshold, answered, silent).mean())

    found = answer_texts.best_threshold(margins, answered, silent)
    assert mean(found) == pytest.approx(max(mean(each) for each in (-math.inf, *np.arange(-6, 7) + 0.5)))


def test_where_every_question_has_an_answer_one_is_always_given(tmp_path: Path) -> None:
    assert answer_texts.best_threshold(np.array([1.0, -9.0]), np.array([0.5, 0.0]), np.zeros(2)) == -math.inf
    answer_texts.write_threshold(-math.inf, tmp_path)
    assert answer_texts.read_threshold(tmp_path) == -math.inf


def test_a_picture_of_every_answer(tmp_path: Path) -> None:
    said, true, *_ = zip(*CASES, strict=True)
    answer_texts.plots(predictions(said, true), folder=tmp_path)
    assert (tmp_path / "f1_by_confidence.png").read_bytes().startswith(b"\x89PNG")


# --- without a network ---


def test_sentences_end_at_their_stops() -> None:
    text = "It cost 3.14 pounds. Who?  Nobody\nparts"
    assert [text[slice(*each)] for each in simple_answers.sentences(text)] == [
        "It cost 3.14 pounds.", "Who?", "Nobody", "parts",
    ]  # fmt: skip
    assert len(list(simple_answers.sentences("今天。明天"))) == 2


def test_simple_answers_find_the_place_in_the_sentence_of_the_question() -> None:
    found = simple_answers.baselines(ROWS, ROWS)
    assert list(found) == ["constant", "sentence", "name"]
    true = {"answers": ROWS["answers"].to_numpy(object)}
    f1 = {name: answer_texts.measure({**said, **true})["f1"].mean() for name, said in found.items()}
    assert f1["name"] == 1.0 > f1["sentence"] > f1["constant"] + 0.2


def test_the_constant_answer_is_none_where_most_questions_have_none() -> None:
    rows = ROWS.assign(answers="[]")
    rows.loc[:5, "answers"] = ROWS["answers"]
    assert set(simple_answers.baselines(rows, rows)["constant"]["predicted"]) == {""}


# --- trained, kept and asked ---


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    torch.set_num_threads(1)
    texts = [*ROWS["question"], *ROWS["context"]]
    return make_base(tmp_path_factory.mktemp("base") / "base", texts=texts, vocabulary=400)


@pytest.fixture
def task() -> Task:
    return find_task("question_answering")


def prepared(task: Task, base: Base, folder: Path, validation: pd.DataFrame = ROWS, **options: int) -> Place:
    """folder: of the recipe's prepared rows."""
    at = a_place(folder / "encoder", base=base)
    at.folder.mkdir(parents=True)
    given = task.Preprocess.model_validate({"max_tokens": 40, "max_answer_tokens": 4, **options})
    task.prepare([ROWS], given, at)
    validation.assign(split="validation").to_parquet(folder / "rows.parquet")
    return at


def taught(task: Task, at: Place, method: Method, rows: pd.DataFrame = ROWS, steps: int = 25) -> Any:
    learner = a_learner(task, Model(base=at.base.reference, method=method), at)
    batch = learner.collate(EncodedRows(task.encode(rows, at)).__getitems__(range(len(rows))))
    rate = 2e-2 if method == "lora" else 5e-3
    optimizer = torch.optim.Adam([p for p in learner.module.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        learner.turns[0].loss(learner.module, batch).backward()
        optimizer.step()
    return learner


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_kept_answers_as_what_was_trained(task: Task, base: Base, tmp_path: Path, method: Method) -> None:
    """Adapters apart from their base, too."""
    at = prepared(task, base, tmp_path)
    learner = taught(task, at, method, steps=3)
    folder = saved_apart(task, learner, at, tmp_path / "kept")
    apart = tmp_path / "kept" / FOLDER
    loaded = task.load(folder)
    assert isinstance(loaded, AnswerPredictor) and isinstance(loaded, Exportable)
    trained = AnswerPredictor(learner.module.eval(), folder, apart if method == "lora" else None)
    said, expected = loaded.predict(ROWS), trained.predict(ROWS)
    assert said["predicted"].tolist() == expected["predicted"].tolist()
    np.testing.assert_allclose(said["confidence"], expected["confidence"], atol=1e-5)
    answers = loaded.answers(said)
    for context, row in zip(ROWS["context"], answers.to_dict("records"), strict=True):
        assert context[row["start"] : row["end"]] == row["answer"] != ""
    assert set(loaded.interface().outputs) == {"logits"}


def test_a_learnt_threshold_says_no_answer_where_the_name_is_not_there(task: Task, base: Base, tmp_path: Path) -> None:
    lost = ROWS.assign(question="where is nobody at all", answers="[]")
    both = pd.concat([ROWS, lost], ignore_index=True)
    at = prepared(task, base, tmp_path, validation=both)
    learner = taught(task, at, "full", both)
    task.save(learner, at, into=tmp_path / "model")
    assert math.isfinite(answer_texts.read_threshold(tmp_path / "model"))
    said = task.load(tmp_path / "model").predict(both)
    found = whole(task.score, task.measure({**said, **task.truth(both, at)}))
    assert found["answerability"] > 0.95
    answers = task.load(tmp_path / "model").answers(said)
    assert answers.iloc[-1].to_dict() | {"confidence": 1.0} == {"answer": "", "start": 0, "end": 0, "confidence": 1.0}


def test_a_long_context_is_read_to_its_end(task: Task, base: Base, tmp_path: Path) -> None:
    """The best span over several windows; the one that holds the answer wins."""
    at = prepared(task, base, tmp_path)
    learner = taught(task, at, "full", steps=60)
    task.save(learner, at, into=tmp_path / "model")
    predictor = task.load(tmp_path / "model")
    first, second = "Ann is in Rome. Bo is in Oslo. Cy is in Bonn.", "So it says in letter 3. " * 4
    row = {"question": "where is Bo", "context": f"{second}{first}", "answers": ["Oslo"]}
    assert len(task.encode(table([row]), at)) > 1
    said = predictor.answers(predictor.predict(pd.DataFrame([row]))).to_dict("records")[0]
    assert row["context"][said["start"] : said["end"]] == said["answer"]
    assert said["start"] >= len(second)


# --- the contract ---

CONTRADICTION = "contradiction: the same content has another answers"
GOOD: dict[str, Any] = {
    "question": "Where is Normandy?", "context": "Normandy, a region in France.",
    "answers": [{"text": "France", "start": 22}],
}  # fmt: skip
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "an answer that is not in its context": ({"answers": ["Denmark"]}, "'Denmark' is not in the context"),
    "a start that does not fit": (
        {"answers": [{"text": "France", "start": 21}]}, "does not stand at character 21",
    ),
    "an empty question": ({"question": " "}, "question .* is empty"),
    "an empty context": ({"context": ""}, "context .* is empty"),
    "no context": ({"context": None, "answers": "France"}, "context is missing"),
    "no question": ({"question": None}, "question is missing"),
    "no answers, not even none": ({"answers": None}, "answers is missing"),
    "an empty answer": ({"answers": [""]}, "the answer '' is empty"),
    "answers that are none": ({"answers": [17]}, "17 is no answer"),
    "half a character": ({"question": "Where \ud83d?"}, "half a character"),
    "a question that is no text": ({"question": 5}, "question: not text but int"),
    "an answer behind its context": ({"answers": [{"text": "France", "start": 99}]}, "does not stand at character 99"),
    "contradicting answers": ({"question": "Where is it?", "answers": ["France"]}, CONTRADICTION),
    "contradicting answers, again": ({"question": "Where is it?", "answers": []}, CONTRADICTION),
}  # fmt: skip


def test_every_listed_fault_is_caught_and_no_good_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path / "workspace", {})
    workspace.root.mkdir()
    copy_code(workspace.root)
    bad = [{**GOOD, **change} for change, _ in FAULTS.values()]
    good = [{**row, "answers": [row["answers"].strip('[]"')]} for row in question_rows(200)]
    lost = [{**GOOD, "question": "What is Normandy called there?", "answers": []}]
    rows = [*bad, *good, *lost, GOOD, GOOD]
    workspace.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    recipe = (
        "task: question_answering\ndata: {source: rows.jsonl}\npreprocess: {max_tokens: 40}\ncontract: {at_most: 0.2}\n"
    )
    workspace.write("recipes/tiny.yaml", f"{recipe}model: {{base: ./start}}\n")
    make_base(workspace.path("start"))
    pin_base(workspace)
    workspace.live(recipes={"tiny": {"task": "question_answering", "watch": "recipes/tiny.yaml"}})
    monkeypatch.chdir(workspace.root)
    for stage in (settings, collect, validate):
        stage.run(Root(workspace.root).job("recipe", "tiny"))
    folder = Root(workspace.root).job("recipe", "tiny").folder
    quarantine = pq.read_table(folder / "validated/quarantine.parquet").to_pylist()
    reasons = {int(row["place"].rpartition(":")[2]): row["reason"] for row in quarantine}
    for line, (name, (_, reason)) in enumerate(FAULTS.items(), start=1):
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(f"{name}: {reasons.get(line)}")
    assert len(reasons) == len(FAULTS), "no false alarm"
    assert pq.read_table(folder / "validated/examples.parquet").num_rows == len(rows) - len(FAULTS)
