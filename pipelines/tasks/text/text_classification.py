"""text_classification: a text -> one label of a fixed set.

Any transformers encoder with a mean-pooled head; all four methods. A row: {"text": "a gorgeous , witty film", "label":
"positive"}.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from core.atomic_files import read_json, write_json
from core.errors import BadRequest
from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Interface, Place, Predictions, Task
from core.weights.base_store import base_folder
from pipelines.tasks.parts import classification, tokens

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from pipelines.tasks.parts.pooled_classifier import MeanPooledClassifier

PREDICT_BATCH = 64  # texts; sorted by length first, so little of it is padding
PRETRAIN_DROPOUT = 0.3  # film reviews from scratch: .757 with it, .741 with BERT's 0.1 (two layers x 128)
_OPTIONS = "options.json"
_FEATURES = "features"
_LENGTH = "length"


class Options(Section):
    max_tokens: Annotated[int, Field(ge=4, le=8192, description="longer texts are cut; special tokens included")] = 128
    vocabulary: Annotated[
        int, Field(ge=300, le=200_000, description="entries of a tokenizer learnt here (an architecture without one)")
    ] = 8000


class TextClassification(classification.Labelled):
    contract = Contract(
        columns={"text": Column("text"), "label": Column("category")}, inputs=("text",), targets=("label",)
    )
    methods: Sequence[Method] = ("pretrain", "full", "lora", "transfer")
    Preprocess: type[Section] = Options
    modules: Sequence[str] = ()

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
        assert isinstance(options, Options)
        classification.write_labels(batches, at.folder)
        if at.base.folder is not None:
            tokens.take(at.base.folder, at.folder, reference=str(at.base.reference))
        else:
            tokens.learn((text for rows in batches for text in rows["text"]), at.folder, size=options.vocabulary)
        write_json(at.folder / _OPTIONS, {"max_tokens": options.max_tokens})
        self._config(at.base, at.folder)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        inputs = tokens.token_ids(_tokenizer(at.folder), rows["text"].tolist())
        return pa.table(
            {
                "input_ids": pa.array(inputs, pa.list_(pa.int32())),
                _LENGTH: pa.array(np.array([len(ids) for ids in inputs], dtype=np.int32)),
                "labels": pa.array(self.truth(rows, at)["label"]),
            }
        )

    def learner(self, model: Model, at: Place) -> TorchLearner:
        module = self._module(model, at)
        return TorchLearner(
            module,
            _collator(at.folder),
            features=lambda table: self._features(module, table, at),
            watch=classification.right,
        )

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        from pipelines.tasks.parts import pooled_classifier

        assert isinstance(learnt, TorchLearner)
        module = learnt.module
        assert isinstance(module, pooled_classifier.MeanPooledClassifier)
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        pooled_classifier.save(module, into, base)
        if base is not None and any(base.iterdir()):
            shutil.move(into / tokens.FILE, base / tokens.FILE)  # the base's own: a vocabulary may be megabytes

    def load(self, folder: Path) -> TextPredictor:
        from pipelines.tasks.parts import pooled_classifier

        labels, base = classification.read_labels(folder), base_folder(folder)
        module = pooled_classifier.load(folder, base, classes=len(labels))
        tokenizer = tokens.read(base or folder, max_tokens=read_json(folder / _OPTIONS)["max_tokens"])
        return TextPredictor(module, tokenizer=tokenizer, pad=tokens.pad_id(tokenizer, folder), labels=labels)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        labels, classes = self.truth(train, at)["label"], len(classification.read_labels(at.folder))
        return {
            "majority": classification.majority(labels, len(units), classes=classes),
            "tfidf": _tfidf(train["text"].tolist(), labels, units["text"].tolist()),
        }

    def _module(self, model: Model, at: Place) -> nn.Module:
        from transformers import set_seed

        from pipelines.tasks.parts import pooled_classifier

        config = self._config(at.base, at.folder)
        set_seed(at.seed)
        return pooled_classifier.build(model, at.base, config, classes=len(classification.read_labels(at.folder)))

    def _features(self, module: nn.Module, table: pa.Table, at: Place) -> pa.Table:
        """With a frozen encoder its vectors replace the tokens; computed once for equal rows, base and thread count."""
        import pyarrow as pa
        import torch

        from pipelines.tasks.parts import pooled_classifier
        from pipelines.tasks.parts.encoder import device_here

        assert isinstance(module, pooled_classifier.MeanPooledClassifier)
        if not module.frozen:
            return table
        inputs = table["input_ids"].to_pylist()
        place = (str(device_here()), torch.get_num_threads())  # they decide the last bits
        identity = repr((at.base.sha256, module.layers, *place, PREDICT_BATCH, inputs))
        path = at.cache / f"{hashlib.sha256(identity.encode()).hexdigest()}.safetensors"
        pad = _pad(at.folder)
        vectors = pooled_classifier.cached_features(path, module, inputs, pad=pad, batch_size=PREDICT_BATCH)
        width = vectors.shape[1]
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.numpy().reshape(-1)), width)
        return table.drop_columns(["input_ids", _LENGTH]).append_column(_FEATURES, column)

    def _config(self, base: Base, folder: Path) -> Any:
        """The encoder's configuration; raises BadRequest where base, tokenizer and options do not fit each other."""
        from pipelines.tasks.parts.encoder import base_config

        tokenizer = _tokenizer(folder)
        config = base_config(base, vocabulary=tokenizer.get_vocab_size(), pad=_pad(folder))
        positions = getattr(config, "max_position_embeddings", None)
        max_tokens = read_json(folder / _OPTIONS)["max_tokens"]
        if positions is not None and max_tokens > positions:
            raise BadRequest(
                f"preprocess.max_tokens: {max_tokens} is more than the {positions} positions of the base. Lower it."
            )
        return config


class TextPredictor:
    def __init__(self, module: MeanPooledClassifier, *, tokenizer: Tokenizer, pad: int, labels: Sequence[str]) -> None:
        self.module, self.tokenizer, self.pad, self.labels = module, tokenizer, pad, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        from pipelines.tasks.parts.pooled_classifier import logits

        inputs = tokens.token_ids(self.tokenizer, rows["text"].tolist())
        said = logits(self.module, inputs, pad=self.pad, batch_size=PREDICT_BATCH)
        return {"probabilities": classification.softmax(said.numpy())}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return classification.answers(predictions, self.labels)

    def interface(self) -> Interface:
        from pipelines.tasks.parts.encoder import pad_tokens

        inputs = pad_tokens([[self.pad] * 3, [self.pad] * 2], self.pad)
        return Interface(inputs, dict.fromkeys(inputs, ("texts", "tokens")), ("logits",))


def _collator(folder: Path) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    import numpy as np
    import torch

    from pipelines.tasks.parts.encoder import pad_tokens

    pad = _pad(folder)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        if _FEATURES in rows[0]:
            inputs = {_FEATURES: torch.from_numpy(np.stack([row[_FEATURES] for row in rows]))}
        else:
            inputs = pad_tokens([row["input_ids"] for row in rows], pad)
        return {**inputs, "labels": torch.tensor([row["labels"] for row in rows])}

    return collate


def _tokenizer(folder: Path) -> Tokenizer:
    return tokens.read(folder, max_tokens=read_json(folder / _OPTIONS)["max_tokens"])


def _pad(folder: Path) -> int:
    return tokens.pad_id(_tokenizer(folder), folder)


def _tfidf(train: Sequence[str], labels: np.ndarray[Any, Any], test: Sequence[str]) -> Predictions:
    """TF-IDF of words and word pairs with logistic regression: hard to beat on topics, easier on tone."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    classifier = LogisticRegression(C=10.0, max_iter=1000, random_state=0)
    classifier.fit(vectorizer.fit_transform(train), labels)
    return {"probabilities": np.asarray(classifier.predict_proba(vectorizer.transform(test)))}


TASK: Task = TextClassification()
