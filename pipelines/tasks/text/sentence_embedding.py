"""sentence_embedding: a text -> a unit vector that lies near those of the texts that answer it.

Fine-tunes an embedder on pairs; what it makes is an index's `embed.model: models:/NAME@champion`. A row: {"query": "who
wrote it?", "passage": "The novel, written by ...", "negative": "a passage that looks like it and is not" or nothing}.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from core.errors import BadRequest
from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.keys import codes, text_key
from core.tables.learner import Learner, TorchLearner
from core.tables.statistics import means
from core.tables.task import Base, Place, Predictions, RowAnswers, Task
from core.weights.base_store import base_folder
from core.weights.pooling import max_tokens_of, pooling_of, write_pooling
from pipelines.tasks.parts import text_input, tokens
from pipelines.tasks.parts.answers import ranking

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from pipelines.tasks.parts.sentence_embedder import SentenceEmbedder

PREDICT_BATCH = 32  # texts; sorted by length first, so little of it is padding
_DECIMALS = 7  # of an answer's numbers: what float32 holds of a unit vector's
_TEXTS = ("query", "passage", "negative")


class Options(Section):
    max_tokens: Annotated[
        int | None,
        Field(ge=4, le=8192, description="longer texts are cut, special tokens included; by default the base's limit"),
    ] = None


class SentenceEmbedding:
    contract = Contract(
        columns={"query": Column("text"), "passage": Column("text"), "negative": Column("text", required=False)},
        inputs=("query",),
    )
    methods: Sequence[Method] = ("full", "lora")
    metrics = ranking.METRICS
    primary = "ndcg_at_10"
    simple: Sequence[str] = ()
    Preprocess: type[Section] = Options
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        rate = 5e-4 if method == "lora" else 5e-5
        split = {"group_by": "passage"}  # or the model has met the test's passages
        return {"training": {"epochs": 1.0, "learning_rate": rate}, "data": {"split": split}}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, Options)
        folder = at.folder
        base = _embedder(at.base)
        assert base.folder is not None
        tokens.take(base.folder, folder, reference=str(base.reference))
        limit = max_tokens_of(base.folder) if options.max_tokens is None else options.max_tokens
        pad = tokens.pad_id(tokens.read(folder, max_tokens=limit), folder)
        config = self._config(base, folder, pad)
        text_input.require_positions(config, limit)
        write_pooling(folder, pooling_of(base.folder), width=config.hidden_size, max_tokens=limit)

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        from pipelines.tasks.parts import encoder

        assert isinstance(options, Options)
        config = encoder.base_config(_embedder(base), vocabulary=1, pad=0)
        text_input.require_positions(config, options.max_tokens or 0)
        encoder.foresee(model, base, config)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        """Token ids of the three texts, an empty list where there is no negative, and the passages' keys."""
        import pyarrow as pa

        tokenizer, columns = _tokenizer(at.folder), {}
        for name in _TEXTS:
            texts = [text if isinstance(text, str) and text.strip() else None for text in rows[name]]
            ids = iter(tokens.token_ids(tokenizer, [text for text in texts if text is not None]))
            columns[f"{name}_ids"] = pa.array([[] if t is None else next(ids) for t in texts], pa.list_(pa.int32()))
            if name != "query":
                columns[f"{name}_key"] = pa.array(codes(text_key(text or "") for text in texts))
        return pa.table(columns)

    def learner(self, model: Model, at: Place) -> TorchLearner:
        """On the rows as they are: batches of like length would put the queries of one passage side by side."""
        return TorchLearner(self._module(model, at), _collator(at.folder), watch=_right_in_batch)

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        from pipelines.tasks.parts.encoder import save_encoder
        from pipelines.tasks.parts.sentence_embedder import SentenceEmbedder

        assert isinstance(learnt, TorchLearner)
        module = learnt.module
        assert isinstance(module, SentenceEmbedder)
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        save_encoder(module.encoder, into, base)

    def load(self, folder: Path) -> EmbeddingPredictor:
        from pipelines.tasks.parts.encoder import load_encoder
        from pipelines.tasks.parts.sentence_embedder import SentenceEmbedder

        base = base_folder(folder)
        encoder, _ = load_encoder(folder, base)
        tokenizer = tokens.read(base or folder, max_tokens=max_tokens_of(folder))
        module = SentenceEmbedder(encoder, pooling_of(folder)).eval()
        return EmbeddingPredictor(module, tokenizer=tokenizer, pad=tokens.pad_id(tokenizer, folder))

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        return rows

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return ranking.truth(units["passage"].tolist())

    def measure(self, predictions: Predictions) -> Predictions:
        return ranking.measure(predictions)

    def score(self, measured: Predictions, weights: np.ndarray[Any, Any]) -> dict[str, float]:
        return means(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return ranking.by_row(predictions)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        """The base as it was before training, and BM25."""
        from pipelines.tasks.parts.sentence_embedder import SentenceEmbedder

        module = self._module(Model(base=at.base.reference), at)
        assert isinstance(module, SentenceEmbedder)
        untouched = EmbeddingPredictor(module, tokenizer=_tokenizer(at.folder), pad=_pad(at.folder))
        said = untouched.predict(units)
        pool = ranking.pool_of(units["passage"].tolist())
        return {
            "base": {name: said[name] for name in ("rank", "among")},
            "bm25": ranking.bm25(units["query"].tolist(), pool),
        }

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        ranking.plots(predictions, folder=folder)

    def _module(self, model: Model, at: Place) -> nn.Module:
        from transformers import set_seed

        from pipelines.tasks.parts import sentence_embedder

        set_seed(at.seed)
        config = self._config(at.base, at.folder, _pad(at.folder))
        return sentence_embedder.build(model, at.base, config, pooling_of(at.folder))

    def _config(self, base: Base, folder: Path, pad: int) -> Any:
        from pipelines.tasks.parts.encoder import base_config

        vocabulary = tokens.read(folder, max_tokens=4).get_vocab_size()
        return base_config(base, vocabulary=vocabulary, pad=pad)


def _embedder(base: Base) -> Base:
    if base.folder is None or base.architecture is not None:
        raise BadRequest(
            "model.base: sentence_embedding goes on from an embedder, and an architecture is none. "
            "Allowed: hub id, path, package:// or models:/NAME@ALIAS of a sentence-transformers model."
        )
    return base


class EmbeddingPredictor:
    def __init__(self, module: SentenceEmbedder, *, tokenizer: Tokenizer, pad: int) -> None:
        self.module, self.tokenizer, self.pad = module, tokenizer, pad

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        """The queries' vectors; of rows with passages also the rank of each one's own among all of them."""
        import numpy as np

        queries = self._vectors(rows["query"].tolist())
        each = np.empty(len(queries), dtype=object)  # one entry a row, and that is a vector
        for at, vector in enumerate(queries):
            each[at] = vector
        if "passage" not in rows:
            return {"vector": each}
        pool = ranking.pool_of(rows["passage"].tolist())
        passages = self._vectors(pool.passages)
        return {"vector": each, **ranking.ranked(pool, lambda part: queries[part] @ passages.T)}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        """`vector`, a list of numbers; nothing of a baseline, which only ranks."""
        import numpy as np
        import pandas as pd

        if "vector" not in predictions:
            return pd.DataFrame(index=range(len(predictions["rank"])))
        return pd.DataFrame(
            {"vector": [np.round(each.astype(np.float64), _DECIMALS).tolist() for each in predictions["vector"]]}
        )

    def _vectors(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        from pipelines.tasks.parts import sentence_embedder

        ids = tokens.token_ids(self.tokenizer, texts)
        vectors: np.ndarray[Any, Any] = sentence_embedder.embed(
            self.module, ids, pad=self.pad, batch_size=PREDICT_BATCH
        ).numpy()
        return vectors


def _collator(folder: Path) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    import torch

    from pipelines.tasks.parts.encoder import pad_tokens

    pad = _pad(folder)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        harder = [row for row in rows if len(row["negative_ids"])]
        queries = pad_tokens([row["query_ids"] for row in rows], pad)
        passages = pad_tokens(
            [*(row["passage_ids"] for row in rows), *(row["negative_ids"] for row in harder)], pad
        )  # fmt: skip
        return {
            "query_ids": queries["input_ids"],
            "query_mask": queries["attention_mask"],
            "passage_ids": passages["input_ids"],
            "passage_mask": passages["attention_mask"],
            "keys": torch.tensor([*(r["passage_key"] for r in rows), *(r["negative_key"] for r in harder)]),
            "labels": torch.arange(len(rows)),
        }

    return collate


def _right_in_batch(outputs: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"accuracy_in_batch": (outputs.logits.argmax(dim=-1) == batch["labels"]).sum()}


def _tokenizer(folder: Path) -> Tokenizer:
    return tokens.read(folder, max_tokens=max_tokens_of(folder))


def _pad(folder: Path) -> int:
    return tokens.pad_id(_tokenizer(folder), folder)


TASK: Task = SentenceEmbedding()
