"""image_classification: a picture -> one label of a fixed set.

Any transformers model for image classification, new or pretrained. A row: {"path": "media/ab/ab12.png", "label": "9"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
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
from pipelines.tasks.parts import classification
from pipelines.tasks.parts.pictures import picture_input
from pipelines.tasks.parts.pictures.picture_input import Picture

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from torch import Tensor, nn

PREDICT_BATCH = 64  # pictures
BASELINE_SIDE = 28  # pixels: logistic regression sees the picture no larger than this
MEASURED_ROWS = 5000  # pictures that the mean and deviation are taken from


class Options(picture_input.Options):
    flip: Annotated[bool, Field(description="show half of the training pictures mirrored; wrong for letters")] = False


class ImageClassification(classification.Labelled):
    contract = Contract(
        columns={"path": Column("media"), "label": Column("category")},
        inputs=("path",),
        targets=("label",),
        media="image",
    )
    methods: Sequence[Method] = ("pretrain", "full")
    simple: Sequence[str] = ()
    Preprocess: type[Section] = Options
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        pretrain = {"epochs": 8.0, "batch_size": 64, "learning_rate": 2e-3}
        full = {"epochs": 3.0, "batch_size": 32, "learning_rate": 1e-4}
        return {"training": pretrain if method == "pretrain" else full}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, Options)
        classification.write_labels(batches, at.folder)
        known = _of_base(at.base)
        picture = Picture(
            picture_input.side(options, batches, known.get("size")),
            picture_input.channels(options, batches, known.get("channels")),
            known.get("mean") or (),
            known.get("deviation") or (),
        )
        if not (picture.mean and picture.deviation):
            some = list(islice((path for rows in batches for path in rows["path"]), MEASURED_ROWS))
            picture = picture_input.measured(some, at.media, picture)
        picture_input.write(picture, at.folder, flip=options.flip)
        self._config(at.base, at.folder)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        pixels = picture_input.pixels(rows["path"].tolist(), at.media, picture_input.read(at.folder))
        return pa.table({"pixels": picture_input.column(pixels), "labels": pa.array(self.truth(rows, at)["label"])})

    def learner(self, model: Model, at: Place) -> TorchLearner:
        return TorchLearner(self._module(model, at), _collator(at.folder), watch=classification.right)

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        from safetensors.torch import save_file

        from pipelines.tasks.parts.architecture import portable

        assert isinstance(learnt, TorchLearner)
        module = learnt.module
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
        save_file(weights, into / "model.safetensors", {"format": "pt"})
        write_json(into / "config.json", portable(module.config))

    def load(self, folder: Path) -> ImagePredictor:
        from transformers import AutoModelForImageClassification

        from pipelines.tasks.parts.architecture import as_request, initialise, saved_config, saved_weights

        module = initialise(AutoModelForImageClassification, saved_config(folder))
        with as_request(f"{folder}: its weights are of another model"):
            module.load_state_dict(saved_weights(folder))
        return ImagePredictor(
            module.eval(), picture=picture_input.read(folder), labels=classification.read_labels(folder)
        )

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        labels, classes = self.truth(train, at)["label"], len(classification.read_labels(at.folder))
        picture = picture_input.read(at.folder)
        picture = replace(picture, size=min(BASELINE_SIDE, picture.size))
        seen, asked = (picture_input.pixels(rows["path"].tolist(), at.media, picture) for rows in (train, units))
        return {
            "majority": classification.majority(labels, len(units), classes=classes),
            "pixels": _logistic(seen, labels, asked, classes=classes),
        }

    def _module(self, model: Model, at: Place) -> nn.Module:
        from transformers import AutoModelForImageClassification, set_seed

        from pipelines.tasks.parts.architecture import initialise, pretrained, set_dropout

        base, config = at.base, self._config(at.base, at.folder)
        if model.dropout is not None:
            set_dropout(config, model.dropout)
        set_seed(at.seed)
        module: nn.Module
        if base.architecture is not None:
            module = initialise(AutoModelForImageClassification, config)
        else:
            module = pretrained(
                AutoModelForImageClassification, base, config, fresh=_is_head, ignore_mismatched_sizes=True
            )
        if read_json(at.folder / picture_input.FILE)["flip"]:
            module.register_forward_pre_hook(_mirror_half, with_kwargs=True)
        return module

    def _config(self, base: Base, folder: Path) -> Any:
        """The network's configuration. Raises BadRequest where base, pictures and labels do not fit each other."""
        from transformers import AutoModelForImageClassification

        from pipelines.tasks.parts.architecture import new_config, stored_config

        picture, names = picture_input.read(folder), classification.read_labels(folder)
        channels = picture.shape[0]
        if base.architecture is None:
            config = stored_config(base)
        else:
            config = new_config(base.architecture, {"num_channels": channels, "image_size": picture.size})
        if type(config) not in AutoModelForImageClassification._model_mapping:
            raise BadRequest(
                f"model.base: {config.model_type} does not classify pictures. Allowed: resnet, vit, convnext, swin and "
                "others of transformers' AutoModelForImageClassification."
            )
        if getattr(config, "num_channels", channels) != channels:
            raise BadRequest(
                f"model.base: num_channels is {config.num_channels}, and the pictures are {picture.channels} "
                f"({channels}). Change it, or preprocess.channels."
            )
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
        return config


class ImagePredictor:
    def __init__(self, module: Any, *, picture: Picture, labels: Sequence[str]) -> None:
        self.module, self.picture, self.labels = module, picture, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        import numpy as np
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module.to(device)
        paths, parts = rows["path"].tolist(), []
        with torch.inference_mode():
            for start in range(0, len(paths), PREDICT_BATCH):
                pixels = picture_input.pixels(paths[start : start + PREDICT_BATCH], media or Path(), self.picture)
                values = picture_input.scaled(pixels, self.picture).to(device)
                parts.append(self.module(pixel_values=values).logits.cpu().numpy())
        return {"probabilities": classification.softmax(np.concatenate(parts))}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return classification.answers(predictions, self.labels)

    def interface(self) -> Interface:
        import torch

        inputs = {"pixel_values": torch.zeros(2, *self.picture.shape)}
        return Interface(inputs, {"pixel_values": ("pictures", None, None, None)}, ("logits",))


def _collator(folder: Path) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    import numpy as np
    import torch

    picture = picture_input.read(folder)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        pixels = np.stack([row["pixels"] for row in rows]).reshape(-1, *picture.shape)
        labels = torch.tensor([row["labels"] for row in rows])
        return {"pixel_values": picture_input.scaled(pixels, picture), "labels": labels}

    return collate


def _of_base(base: Base) -> dict[str, Any]:
    """How a pretrained base wants its pictures: from its picture.json or preprocessor_config.json, if it has one."""
    if base.folder is None:
        return {}
    if (base.folder / picture_input.FILE).is_file():
        return dict(read_json(base.folder / picture_input.FILE))
    if not (base.folder / "preprocessor_config.json").is_file():
        return {}
    told = read_json(base.folder / "preprocessor_config.json")
    size = told.get("size")
    side = size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
    mean = told.get("image_mean")
    channels = "grayscale" if mean is not None and len(mean) == 1 else "rgb"
    return {"size": side, "channels": channels, "mean": mean, "deviation": told.get("image_std")}


def _is_head(name: str) -> bool:
    return name.startswith(("classifier", "head", "fc", "cls_classifier", "distillation_classifier"))


def _mirror_half(module: nn.Module, arguments: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    import torch

    if not module.training:
        return arguments, options
    pixels = options["pixel_values"]
    chosen = torch.rand(len(pixels), device=pixels.device) < 0.5
    return arguments, options | {"pixel_values": torch.where(chosen.view(-1, 1, 1, 1), pixels.flip(-1), pixels)}


def _logistic(
    train: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], test: np.ndarray[Any, Any], *, classes: int
) -> Predictions:
    """Logistic regression on the pixels, 0 to 1."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(C=0.1, max_iter=300)
    classifier.fit(train.reshape(len(train), -1) / 255, labels)
    probabilities = np.zeros((len(test), classes))
    probabilities[:, classifier.classes_] = classifier.predict_proba(test.reshape(len(test), -1) / 255)
    return {"probabilities": probabilities}


TASK: Task = ImageClassification()
