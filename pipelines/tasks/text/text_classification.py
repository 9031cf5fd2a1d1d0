"""text_classification: a text -> one label of a fixed set.

Any transformers encoder, LSTM, GRU or RNN with a mean-pooled head, all four methods; or TF-IDF. A row: {"text": "a
gorgeous , witty film", "label": "positive"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Interface, Place, Predictions, Task
from core.weights.base_store import base_folder
from pipelines.tasks.parts import classification, linear, text_input, tokens
from pipelines.tasks.parts.classification import Array

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from tokenizers import Tokenizer

    from core.tables.task import Predictor
    from pipelines.tasks.parts.pooled_classifier import MeanPooledClassifier

PREDICT_BATCH = 64  # texts; sorted by length first, so little of it is padding
PRETRAIN_DROPOUT = 0.3  # film reviews from scratch: .757 with it, .741 with BERT's 0.1 (two layers x 128)
TFIDF = "tfidf"


class TextPredictor(classification.LabelPredictor):
    probabilities = staticmethod(classification.softmax)

    def __init__(self, module: MeanPooledClassifier, *, tokenizer: Tokenizer, pad: int, labels: Sequence[str]) -> None:
        self.module, self.tokenizer, self.pad, self.labels = module, tokenizer, pad, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        from pipelines.tasks.parts.pooled_classifier import logits

        inputs = tokens.token_ids(self.tokenizer, rows["text"].tolist())
        said = logits(self.module, inputs, pad=self.pad, batch_size=PREDICT_BATCH)
        return {"probabilities": self.probabilities(said.numpy())}

    def interface(self) -> Interface:
        return text_input.interface(self.pad)


class TfidfPredictor(classification.LabelPredictor):
    def __init__(self, model: linear.Tfidf, labels: Sequence[str]) -> None:
        self.model, self.labels = model, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        return {"probabilities": self.model.probabilities(rows["text"].tolist())}


class TextClassification(classification.Labelled):
    contract = Contract(
        columns={"text": Column("text"), "label": Column("category")}, inputs=("text",), targets=("label",)
    )
    methods: Sequence[Method] = ("pretrain", "full", "lora", "transfer")
    simple: Sequence[str] = (TFIDF,)
    Preprocess: type[Section] = text_input.TextOptions
    modules: Sequence[str] = ()
    classifier: type[linear.LinearClassifier] = linear.LinearClassifier
    network: type[TextPredictor] = TextPredictor
    tfidf: type[TfidfPredictor] = TfidfPredictor
    write_labels = staticmethod(classification.write_labels)
    watch = staticmethod(classification.right)

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training: Mapping[Method, Mapping[str, Any]] = {
            "pretrain": {"epochs": 3.0, "learning_rate": 1e-3},
            "full": {"epochs": 2.0, "learning_rate": 5e-5},
            "lora": {"epochs": 2.0, "learning_rate": 1e-3},
            "transfer": {"epochs": 15.0, "learning_rate": 1e-3},
        }
        model = {"dropout": PRETRAIN_DROPOUT} if method == "pretrain" else {}
        return {"training": training[method], "model": model}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, text_input.TextOptions)
        self.write_labels(batches, at.folder)
        if at.base.starts(TFIDF):
            at.base.refuse_settings()
        else:
            text_input.prepare(batches, options, at)

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        assert isinstance(options, text_input.TextOptions)
        if base.starts(TFIDF):
            base.refuse_settings()
        else:
            text_input.foresee(model, options, base)

    def encoded_labels(self, rows: pd.DataFrame, at: Place) -> pa.Array:
        """What the network learns to say of each row: the number of its label."""
        import pyarrow as pa

        return pa.array(self.truth(rows, at)["label"])

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        labels = self.encoded_labels(rows, at)
        if at.base.starts(TFIDF):
            return pa.table({"text": pa.array(rows["text"], pa.string()), "labels": labels})
        return text_input.encoded(rows["text"].tolist(), at.folder).append_column("labels", labels)

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        classes = len(classification.read_labels(at.folder))
        if at.base.starts(TFIDF):
            return linear.tfidf_learner(classes)
        from transformers import set_seed

        from pipelines.tasks.parts import headed_encoder, pooled_classifier

        config, pad = text_input.config(at.base, at.folder), text_input.pad(at.folder)
        set_seed(at.seed)
        module = headed_encoder.build(pooled_classifier.MeanPooledClassifier, model, at.base, config, classes=classes)
        return TorchLearner(
            module,
            partial(pooled_classifier.collate, pad=pad),
            features=partial(pooled_classifier.features, module, at=at, pad=pad, batch_size=PREDICT_BATCH),
            watch=self.watch,
            labels=True,
        )

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        if isinstance(learnt, linear.OneStepLearner):
            learnt.fitted.save(into)
            return
        from pipelines.tasks.parts import headed_encoder

        headed_encoder.save(learnt, into, base)

    def load(self, folder: Path) -> Predictor:
        labels, base = classification.read_labels(folder), base_folder(folder)
        if linear.is_kept(folder):
            return self.tfidf(linear.load_tfidf(folder, self.classifier), labels)
        from pipelines.tasks.parts import headed_encoder, pooled_classifier

        module = headed_encoder.load(pooled_classifier.MeanPooledClassifier, folder, base, classes=len(labels))
        tokenizer = text_input.tokenizer(folder, base)
        return self.network(module, tokenizer=tokenizer, pad=text_input.pad(folder, base), labels=labels)

    def simple_probabilities(self, train: pd.DataFrame, labels: Array, units: pd.DataFrame, at: Place) -> Array:
        fitted = linear.fit_tfidf(train["text"].tolist(), labels, classes=len(classification.read_labels(at.folder)))
        return fitted.probabilities(units["text"].tolist())


TASK: Task = TextClassification()
