"""token_classification: a text -> labelled spans of it, such as named entities.

Any transformers encoder, a BiLSTM or a dictionary; all four methods. A row: {"text": "Empire State Building = ESB",
"spans": [{"start": 0, "end": 21, "label": "location"}, {"start": 24, "end": 27, "label": "location"}]}.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cells.spans import listed
from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Interface, Place, Predictions, Task
from core.weights.base_store import base_folder
from pipelines.tasks.parts import text_input
from pipelines.tasks.parts.entities import labelled_spans, token_windows
from pipelines.tasks.parts.entities.entity_dictionary import FILE, EntityDictionary

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from tokenizers import Tokenizer

    from pipelines.tasks.parts.entities.token_classifier import TokenClassifier

PREDICT_BATCH = 64  # windows; sorted by length first, so little of it is padding
PRETRAIN_DROPOUT = 0.3
DICTIONARY = "dictionary"  # an architecture, beside those of transformers and the parts' lstm


class TokenClassification(labelled_spans.LabelledSpans):
    contract = Contract(
        columns={"text": Column("text"), "spans": Column("spans")}, inputs=("text",), targets=("spans",)
    )  # fmt: skip
    methods: Sequence[Method] = ("pretrain", "full", "lora", "transfer")
    simple: Sequence[str] = (DICTIONARY,)
    Preprocess: type[Section] = text_input.TextOptions
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training: Mapping[Method, Mapping[str, Any]] = {
            "pretrain": {"epochs": 10.0, "learning_rate": 2e-3},
            "full": {"epochs": 3.0, "learning_rate": 3e-4},
            "lora": {"epochs": 3.0, "learning_rate": 1e-3},
            "transfer": {"epochs": 15.0, "learning_rate": 2e-3},
        }
        model = {"dropout": PRETRAIN_DROPOUT} if method == "pretrain" else {}
        return {"training": training[method], "model": model}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, text_input.TextOptions)
        labelled_spans.write_labels(batches, at.folder)
        if not at.base.starts(DICTIONARY):
            text_input.prepare(batches, options, at)
        else:
            at.base.refuse_settings()

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        assert isinstance(options, text_input.TextOptions)
        if base.starts(DICTIONARY):
            base.refuse_settings()
        else:
            text_input.foresee(model, options, base)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        """A row a window, with a tag for each token that begins a word; of a dictionary the rows themselves."""
        import pyarrow as pa

        if at.base.starts(DICTIONARY):
            return pa.table({name: pa.array(rows[name], pa.string()) for name in ("text", "spans")})
        parts = token_windows.windows(_tokenizer(at.folder), rows["text"].tolist())
        names = token_windows.tag_names(labelled_spans.read_labels(at.folder))
        return token_windows.encoded(parts, [listed(cell) for cell in rows["spans"]], names)

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        if at.base.starts(DICTIONARY):
            return EntityDictionary()
        from transformers import set_seed

        from pipelines.tasks.parts import headed_encoder
        from pipelines.tasks.parts.entities import tagging, token_classifier

        config = text_input.config(at.base, at.folder)
        names = token_windows.tag_names(labelled_spans.read_labels(at.folder))
        pad = text_input.pad(at.folder)
        set_seed(at.seed)
        module = headed_encoder.build(token_classifier.TokenClassifier, model, at.base, config, classes=len(names))
        features = partial(tagging.features, module, at=at, pad=pad, batch_size=PREDICT_BATCH)
        collate = partial(tagging.collate, pad=pad)
        return TorchLearner(module, collate, features=features, watch=tagging.watch, labels=True)

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        if isinstance(learnt, EntityDictionary):
            learnt.save(into)
            return
        from pipelines.tasks.parts import headed_encoder

        headed_encoder.save(learnt, into, base)

    def load(self, folder: Path) -> SpanPredictor | EntityDictionary:
        if (folder / FILE).is_file():
            return EntityDictionary.load(folder)
        from pipelines.tasks.parts import headed_encoder
        from pipelines.tasks.parts.entities.token_classifier import TokenClassifier

        names, base = token_windows.tag_names(labelled_spans.read_labels(folder)), base_folder(folder)
        module = headed_encoder.load(TokenClassifier, folder, base, classes=len(names))
        return SpanPredictor(module, tokenizer=_tokenizer(folder, base), pad=text_input.pad(folder, base), names=names)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        """No spans at all, and the entities of the training rows wherever they stand again."""
        found = {"nothing": labelled_spans.nothing(len(units))}
        if not at.base.starts(DICTIONARY):
            known = EntityDictionary()
            known.learn(zip(train["text"], train["spans"], strict=True))
            found[DICTIONARY] = known.predict(units)
        return found


class SpanPredictor:
    def __init__(self, module: TokenClassifier, *, tokenizer: Tokenizer, pad: int, names: Sequence[str]) -> None:
        """names: of the tags, in the module's numbering."""
        self.module, self.tokenizer, self.pad, self.names = module, tokenizer, pad, names

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        from pipelines.tasks.parts.entities import tagging

        texts = rows["text"].tolist()
        parts = token_windows.windows(self.tokenizer, texts)
        words = tagging.tagged(self.module, parts, self.names, pad=self.pad, batch_size=PREDICT_BATCH)
        return labelled_spans.said(texts, token_windows.spans_of_texts(parts, words, len(texts)))

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return labelled_spans.answers(predictions)

    def interface(self) -> Interface:
        return text_input.interface(self.pad)


def _tokenizer(folder: Path, base: Path | None = None) -> Tokenizer:
    return token_windows.overlapping(text_input.tokenizer(folder, base), max_tokens=text_input.max_tokens(folder))


TASK: Task = TokenClassification()
