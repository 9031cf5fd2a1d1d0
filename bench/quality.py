"""How good search is: nDCG@10 of dense, BM25 and hybrid through our stages, beside exact search by others.

The others are sentence-transformers' vectors and bm25s, over the same passages; a document stands where its best
passage stands. What was computed stays in var/bench/quality, so a second run only asks.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from bench import corpora
from bench.standin import free_embedding
from core.workspace import Job
from pipelines.publish.judging import PRIMARY, measure
from pipelines.search.ask.judged_queries import Query
from pipelines.search.ask.query import MODES, Question, asking
from pipelines.search.engine.engine import Mode
from pipelines.search.text.passages import embedded
from pipelines.search.vectors.token_reader import locked_base
from tests import small_index

SETS = ("cranfield", "cisi", "cacm", "xquad-en")
CHINESE = "cmrc2018-dev"
HYBRID = {"cranfield": 0.405, "cisi": 0.45, "cacm": 0.545, "xquad-en": 0.975}  # nDCG@10 that hybrid is to reach
MULTILINGUAL = "HEADRACE_MULTILINGUAL"  # the folder of a multilingual sentence-transformers model
ROOT = Path("var/bench/quality").resolve()
DEPTH = 100
_TOKENS = 256  # all that MiniLM reads


def main() -> None:
    skipped = corpora.missing()
    if skipped:
        print(skipped)
        return
    found = {name: _english(name) for name in SETS}
    _report(found)
    _chinese()


def _english(name: str) -> dict[str, float]:
    """nDCG@10 of each way to search a set."""
    job, queries = _job(name), corpora.queries(name)
    small_index.build(job)
    scores: dict[str, float] = {mode: _asked(job, queries, mode) for mode in MODES}
    rows = small_index.rows(job)
    scores["exact"] = _ndcg(queries, _exact(job, rows, [query.text for query in queries]), rows)
    scores["bm25s"] = _ndcg(queries, _bm25s(rows, queries, _english_words), rows)
    print(f"{name}: {len(queries):,} queries, {len(rows):,} passages, {corpora.load()}", file=sys.stderr, flush=True)
    return scores


def _report(found: dict[str, dict[str, float]]) -> None:
    names = {
        "dense": "dense", "exact": "sentence-transformers, exact", "sparse": "BM25", "bm25s": "bm25s",
        "hybrid": "hybrid",
    }  # fmt: skip
    rows = []
    for way, called in names.items():
        values = [found[name][way] for name in SETS]
        rows.append([called, *(f"{value:.4f}" for value in values), f"{statistics.fmean(values):.4f}"])
    print(corpora.table(["nDCG@10", *SETS, "mean"], rows))
    mean = {way: statistics.fmean(found[name][way] for name in SETS) for way in names}
    _verdict("dense equals exact search to 3 decimals", _apart(found, "dense", "exact") < 0.0005)
    _verdict("BM25 equals bm25s within .005", _apart(found, "sparse", "bm25s") <= 0.005)
    for name, floor in HYBRID.items():
        _verdict(f"hybrid, {name}: at least {floor}", found[name]["hybrid"] >= floor)
    _verdict("hybrid is above both halves on the mean", mean["hybrid"] > max(mean["dense"], mean["sparse"]))


def _chinese() -> None:
    """BM25 over pairs of characters beside bm25s over jieba's words. Vectors are a stand-in unless a model is named."""
    queries, model = corpora.queries(CHINESE), os.environ.get(MULTILINGUAL)
    job = _job(CHINESE, model)
    with nullcontext() if model else free_embedding():
        small_index.build(job)
    ours, rows = _asked(job, queries, "sparse"), small_index.rows(job)
    print(f"{CHINESE}: BM25 {ours:.4f}")
    if model:
        print(f"{CHINESE}, {model}: " + ", ".join(f"{mode} {_asked(job, queries, mode):.4f}" for mode in MODES))
    else:
        print(f"{CHINESE}: hybrid was not measured: {MULTILINGUAL} names the folder of a multilingual embedder")
    theirs = _ndcg(queries, _bm25s(rows, queries, _jieba), rows) if corpora.PEERS.is_file() else None
    if theirs is None:
        print(f"{CHINESE}: bm25s over jieba's words was not measured: `make peers` installs jieba")
        return
    print(f"{CHINESE}: bm25s over jieba's words {theirs:.4f}")
    _verdict("BM25 is at least bm25s over jieba's words - .01", ours >= theirs - 0.01)


def _job(name: str, model: str | None = None) -> Job:
    sections: dict[str, Any] = {}
    if model:
        from pipelines.bases import identify

        reference = str(Path(model).resolve())
        identity = {"sha256": identify(reference, Path()).sha256, "version": None}
        sections = {"embed": {"model": reference}, "bases": {reference: identity}}
    folder = ROOT / name / (Path(model).name if model else "minilm")
    cores = {"engine": "local", "threads": len(os.sched_getaffinity(0))}
    return corpora.index(folder, corpora.documents(name), tokens=_TOKENS, overlap=0, compute=cores, **sections)


def _asked(job: Job, queries: Sequence[Query], mode: Mode) -> float:
    """Through the release, as `headrace query` asks."""
    with asking(job.workspace, job.name) as asker:
        vectors = asker.embedder.questions([query.text for query in queries]) if mode != "sparse" else None
        rankings = []
        for row, query in enumerate(queries):
            vector = () if vectors is None else vectors[row].tolist()
            passages = asker.ask(Question(query.text, None, DEPTH, mode=mode), vector)
            rankings.append(list(dict.fromkeys(passage.document for passage in passages)))
    return float(measure(queries, rankings)[PRIMARY].mean())


def _ndcg(queries: Sequence[Query], scores: np.ndarray[Any, Any], rows: Sequence[dict[str, Any]]) -> float:
    """scores: (queries, passages)."""
    rankings = []
    for row in scores:
        best = np.argsort(-row, kind="stable")[: 3 * DEPTH]
        rankings.append(list(dict.fromkeys(rows[at]["document"] for at in best if row[at] > 0))[:DEPTH])
    return float(measure(queries, rankings)[PRIMARY].mean())


def _exact(job: Job, rows: Sequence[dict[str, Any]], questions: Sequence[str]) -> np.ndarray[Any, Any]:
    """Cosines by sentence-transformers; its vectors of the passages are kept beside the index."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(locked_base(job).folder), device="cpu")
    kept, keys = job.workspace.root / "exact.npz", [row["key"] for row in rows]
    if not kept.is_file() or np.load(kept)["keys"].tolist() != keys:
        texts = [embedded(row["heading"], row["text"]) for row in rows]
        np.savez(kept, keys=keys, vectors=model.encode(texts, normalize_embeddings=True))
    found: np.ndarray[Any, Any] = model.encode(list(questions), normalize_embeddings=True) @ np.load(kept)["vectors"].T
    return found


def _bm25s(
    rows: Sequence[dict[str, Any]], queries: Sequence[Query], cut: Callable[[list[str]], Any]
) -> np.ndarray[Any, Any]:
    import bm25s

    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index(cut([embedded(row["heading"], row["text"]) for row in rows]), show_progress=False)
    tokens = cut([query.text for query in queries])
    places, values = index.retrieve(tokens, k=min(3 * DEPTH, len(rows)), show_progress=False)
    scores = np.zeros((len(queries), len(rows)))
    np.put_along_axis(scores, places.astype(int), values, axis=1)
    return scores


def _english_words(texts: list[str]) -> Any:
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)


def _jieba(texts: list[str]) -> list[list[str]]:
    """By another process, as jieba is no part of this project's environment."""
    code = "import json, sys, jieba; print(json.dumps([list(jieba.cut(text)) for text in json.load(sys.stdin)]))"
    done = subprocess.run([corpora.PEERS, "-c", code], input=json.dumps(texts), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{corpora.PEERS}: jieba: {done.stderr}")
    return [[word for word in words if word.strip()] for words in json.loads(done.stdout)]


def _apart(found: dict[str, dict[str, float]], one: str, other: str) -> float:
    return max(abs(scores[one] - scores[other]) for scores in found.values())


def _verdict(what: str, reached: bool) -> None:
    print(f"{'reached' if reached else 'NOT REACHED'}: {what}")
