"""Which arithmetic computes an index's vectors: fp32, int8 where it is asked for and judged good enough, or bf16.

What an index has it keeps, as long as weights and settings are the same: another choice is all vectors anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.atomic_files import sha256_json
from core.errors import BadRequest
from core.manifest import earlier_manifest
from core.weights.pooling import prompts_of
from pipelines.bases import Resolved
from pipelines.embed import int8
from pipelines.search.vectors.bert import is_bert
from pipelines.search.vectors.embedder import QUANTISED, Precision, fingerprint
from pipelines.search.vectors.forward import has_gpu
from pipelines.search.vectors.vector_table import Keys

METHOD = 2  # how a vector is computed: raise it when the same weights and arithmetic give other bits
METHODS = [METHOD, int8.METHOD]
_WORTH_IT = 2000  # texts: for fewer, calibrating and judging take longer than int8 saves

Asked = Precision | Literal["auto"]
Texts = Callable[[Keys], Mapping[str, str]]


@dataclass(frozen=True)
class Model:
    """What computes the vectors.

    said: `embedder` in the manifest; vectors of equal ones mix. quantised: the int8 model's file. judged: `int8` there.
    """

    said: Mapping[str, Any]
    quantised: Path | None = None
    judged: Mapping[str, Any] | None = None


def choose(asked: Asked, base: Resolved, vectors: Path, work: Path, keys: Keys, texts: Texts, threads: int) -> Model:
    """vectors: what an earlier run left. work: where an int8 model is made. texts: reads those of some keys.

    Raises BadRequest when int8 is asked of a model that has none.
    """
    bert = is_bert(base.folder)
    if asked == "int8" and not bert:
        raise BadRequest(f"embed.precision: int8 is there for BERT models, and {base.folder} is none. Write fp32.")
    before = earlier_manifest(vectors)
    same = all(before.get("embedder", {}).get(name) == value for name, value in _identity(base).items())
    precision: Precision
    if asked != "auto":
        precision = asked
    elif same:
        precision = before["embedder"]["precision"]
    elif has_gpu():
        precision = "bf16"
    else:
        precision = "int8" if bert and len(keys) >= _WORTH_IT and int8.gains() else "fp32"
    if precision != "int8":
        return Model(_said(base, precision, bert=bert))
    return (_kept(before, base, vectors) if same else None) or _made(base, work, keys, texts, threads)


def _identity(base: Resolved) -> dict[str, Any]:
    prompt = prompts_of(base.folder).passage
    return {"weights": base.sha256, "method": METHOD, **({"prompt": prompt} if prompt else {})}


def _said(base: Resolved, precision: Precision, *, bert: bool = True, quantised: str | None = None) -> dict[str, Any]:
    engine = "openvino" if bert and precision != "bf16" else "torch"
    return {**_identity(base), "precision": precision, "engine": engine, "quantised": quantised}


def _kept(before: Mapping[str, Any], base: Resolved, vectors: Path) -> Model | None:
    """The int8 model, or its refusal, that an earlier run left."""
    judged, path = before.get("int8"), vectors / QUANTISED
    if not judged or judged["method"] != int8.METHOD:
        return None
    if not judged["passed"]:  # too few texts to judge by may be enough by now
        return Model(_said(base, "fp32"), None, judged) if judged["questions"] >= int8.FEWEST else None
    sha256 = before["embedder"]["quantised"]
    if path.is_file() and fingerprint(path.parent) == sha256:
        return Model(before["embedder"], path, judged)
    return None


def _made(base: Resolved, work: Path, keys: Keys, texts: Texts, threads: int) -> Model:
    """A new int8 model, calibrated on the texts of the lowest hashes and judged on those of the highest."""
    items = int8.known_items(texts(keys[-int8.JUDGED :]).values())
    judgement, path, sha256 = int8.Judgement(len(items), 0.0, 0.0, 0.0), None, None
    if len(items) >= int8.FEWEST:
        samples = list(texts(keys[: int8.TEXTS]).values())
        print(f"embed: calibrating int8 on {len(samples):,} texts", file=sys.stderr, flush=True)
        folder = work / f"int8-{sha256_json([_identity(base), int8.METHOD, samples])[:16]}"
        sha256 = int8.calibrated(folder, base.folder, samples)
        path = folder / QUANTISED
        judgement = int8.judge(base.folder, path, items, threads=threads)
    print(f"embed: {judgement}", file=sys.stderr, flush=True)
    judged = {**judgement.facts, "method": int8.METHOD}
    if not judgement.passed:
        return Model(_said(base, "fp32"), None, judged)
    return Model(_said(base, "int8", quantised=sha256), path, judged)
