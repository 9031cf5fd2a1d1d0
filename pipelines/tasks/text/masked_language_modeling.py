"""masked_language_modeling: a text with hidden words -> the words; what it learns is a base for tasks that read text.

Any masked language model of transformers, from nothing or from a base. A row: {"text": "a gorgeous , witty film"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Place, Predictions, RowAnswers, Task
from core.weights.base_store import base_folder
from pipelines.tasks.parts import text_input, tokens
from pipelines.tasks.parts.language import fill, masking, perplexity

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


class Options(text_input.TextOptions):
    hidden: Annotated[float, Field(gt=0, le=0.5, description="share of a text's tokens that are hidden at once")] = (
        0.15  # Devlin et al. 2019
    )


class MaskedLanguageModeling:
    contract = Contract(columns={"text": Column("text")}, inputs=("text",))
    methods: Sequence[Method] = ("pretrain", "full", "lora")
    metrics = perplexity.METRICS
    primary = "perplexity"
    simple: Sequence[str] = ()
    Preprocess: type[Section] = Options
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training: Mapping[Method, Mapping[str, Any]] = {
            "pretrain": {"epochs": 10.0, "learning_rate": 2e-3},
            "full": {"epochs": 3.0, "learning_rate": 1e-4},
            "lora": {"epochs": 3.0, "learning_rate": 1e-3},
        }
        model = {"dropout": 0.0} if method == "pretrain" else {}  # no text is seen twice with the same tokens hidden
        return {"training": training[method], "model": model}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        from pipelines.tasks.parts.language import masked_lm

        assert isinstance(options, Options)
        text_input.prepare(batches, options, at, mask=True)
        masked_lm.require_kind(text_input.config(at.base, at.folder))
        fill.write_share(options.hidden, at.folder)

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        assert isinstance(options, Options)
        text_input.foresee(model, options, base)
        if not text_input.surely_fits(model, base, options.max_tokens, vocabulary=options.vocabulary):
            from pipelines.tasks.parts.encoder import base_config
            from pipelines.tasks.parts.language.masked_lm import require_kind

            require_kind(base_config(base, vocabulary=1, pad=0))

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        """A row a window of a text."""
        import pyarrow as pa

        parts = masking.windows(text_input.tokenizer(at.folder), rows["text"].tolist())
        return pa.table(
            {
                "of": pa.array([part.of for part in parts], pa.int64()),
                "input_ids": pa.array([part.ids for part in parts], pa.list_(pa.int32())),
                "length": pa.array([len(part.ids) for part in parts], pa.int32()),
            }
        )

    def learner(self, model: Model, at: Place) -> TorchLearner:
        from transformers import set_seed

        from pipelines.tasks.parts.language import masked_lm

        config, pad = text_input.config(at.base, at.folder), text_input.pad(at.folder)
        set_seed(at.seed)
        module = masked_lm.build(model, at.base, config)
        collate = partial(masked_lm.collate, module=module, pad=pad, masks=fill.read_masks(at.folder))
        return TorchLearner(module, collate, watch=masked_lm.right)

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        from pipelines.tasks.parts.encoder import save_encoder

        assert isinstance(learnt, TorchLearner)
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        save_encoder(learnt.module.get_submodule("model"), into, base)

    def load(self, folder: Path) -> fill.FillPredictor:
        from pipelines.tasks.parts.language import masked_lm

        base = base_folder(folder)
        return fill.FillPredictor(masked_lm.load(folder, base), folder, base)

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        return rows

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return perplexity.truth(len(units), masking.tokenizer_code(at.folder / tokens.FILE))

    def measure(self, predictions: Predictions) -> Predictions:
        return perplexity.measure(predictions)

    def score(self, measured: Predictions, weights: np.ndarray[Any, Any]) -> dict[str, float]:
        return perplexity.score(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return perplexity.by_row(predictions)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        """How frequent each token is, what stands beside it, and the base as it was, if it could do this already."""
        from pipelines.tasks.parts.language import masked_lm
        from pipelines.tasks.parts.language.neighbours import baselines

        tokenizer, masks = text_input.tokenizer(at.folder), fill.read_masks(at.folder)
        code = masking.tokenizer_code(at.folder / tokens.FILE)
        found = baselines(train["text"].tolist(), units["text"].tolist(), tokenizer, masks, code=code)
        if at.base.architecture is None:
            config = text_input.config(at.base, at.folder)
            module = masked_lm.build(Model(base=at.base.reference), at.base, config)
            if not module.head_is_new:
                found["base"] = fill.FillPredictor(module, at.folder).predict(units)
        return found

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        perplexity.plots(predictions, folder=folder)


TASK: Task = MaskedLanguageModeling()
