"""int8: an embedder's arithmetic in 8 bits, calibrated once on the index's own texts, and judged before it is used."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.atomic_files import replacing
from pipelines.search.text.sentences import sentences
from pipelines.search.vectors.bert import graph
from pipelines.search.vectors.embedder import QUANTISED, Embedder, fingerprint, load
from pipelines.search.vectors.forward import Vectors
from pipelines.search.vectors.token_reader import load_reader

METHOD = 1  # how the int8 model is made and judged: raise it when the same weights and texts give another
TEXTS = 300  # NNCF's own number of calibration samples
JUDGED = 256  # passages, and as many questions
BOUND = 0.005  # of nDCG@10, below fp32
FEWEST = 20  # questions: fewer judge nothing
_VNNI = re.compile(r"\b(avx512_vnni|avx_vnni|amx_int8|i8mm)\b")


@dataclass(frozen=True)
class Judgement:
    """What int8 costs on known items: a sentence is taken out of its passage, and must find it among all others."""

    questions: int
    fp32: float  # nDCG@10
    int8: float
    cosine: float  # of a text's two vectors, on the mean

    @property
    def passed(self) -> bool:
        return self.questions >= FEWEST and self.fp32 - self.int8 <= BOUND

    @property
    def facts(self) -> dict[str, Any]:
        return {**{k: round(v, 4) for k, v in asdict(self).items()}, "bound": BOUND, "passed": self.passed}

    def __str__(self) -> str:
        if self.questions < FEWEST:
            return f"int8 is not used: {self.questions} known items are too few to judge it by, {FEWEST} are needed"
        said = f"nDCG@10 {self.int8:.4f} against fp32's {self.fp32:.4f} on {self.questions} known items"
        return f"int8 {'is used' if self.passed else 'is refused, fp32 is used'}: {said} (bound {BOUND})"


def gains() -> bool:
    """Whether this processor multiplies bytes faster than floats; without such instructions int8 is no faster."""
    facts = Path("/proc/cpuinfo")
    return facts.is_file() and _VNNI.search(facts.read_text(errors="replace")) is not None


def calibrated(folder: Path, base: Path, texts: Sequence[str]) -> str:
    """Make folder/int8 from the model in `base`, unless it is there; returns its sha256."""
    path = folder / QUANTISED
    if not path.is_file():
        reader = load_reader(base)
        reader.tokenizer.enable_truncation(reader.max_tokens)
        ids = [one.ids for one in reader.tokenizer.encode_batch_fast(list(texts))]
        with replacing(path.parent) as beside:
            _quantise(graph(base), ids, beside / path.name)
    return fingerprint(path.parent)


def known_items(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Questions and the passages that answer them: each text's longest sentence, and the text without it."""
    pairs = []
    for text in texts:
        spans = sentences(text)
        if len(spans) > 1:
            start, end = max(spans, key=lambda span: span[1] - span[0])
            pairs.append((text[start:end], text[:start] + text[end:]))
    return pairs


def judge(base: Path, quantised: Path, pairs: Sequence[tuple[str, str]], *, threads: int) -> Judgement:
    """Compare int8 with fp32 on known items of the index."""
    exact = _vectors(load(base, threads=threads), pairs)
    quick = _vectors(load(base, threads=threads, precision="int8", quantised=quantised), pairs)
    alike = [(one * other).sum(axis=1).mean() for one, other in zip(exact, quick, strict=True)]
    return Judgement(len(pairs), _ndcg(*exact), _ndcg(*quick), float(np.mean(alike)))


def _vectors(embedder: Embedder, pairs: Sequence[tuple[str, str]]) -> tuple[Vectors, Vectors]:
    questions, passages = zip(*pairs, strict=True)
    return embedder.questions(questions), embedder.encode(passages)


def _quantise(model: Any, ids: Sequence[Sequence[int]], path: Path) -> None:
    os.environ["NNCF_CI"] = "1"  # else it reports each call to its makers
    import nncf
    import openvino as ov

    logging.getLogger("nncf").setLevel(logging.ERROR)
    samples = nncf.Dataset([[np.array([one], np.int32)] for one in ids])
    with contextlib.redirect_stdout(io.StringIO()):  # its bars
        made = nncf.quantize(model, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(ids))
    ov.save_model(made, path, compress_to_fp16=False)


def _ndcg(questions: Vectors, passages: Vectors) -> float:
    """nDCG@10 of questions whose only right answer is the passage of the same row."""
    scores = questions @ passages.T
    right = np.diagonal(scores)[:, None]
    ranks = (scores > right).sum(axis=1)
    return float(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0).mean())
