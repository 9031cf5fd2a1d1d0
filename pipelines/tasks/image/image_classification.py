"""image_classification: a picture -> one label of a fixed set.

Any transformers model for image classification, new or pretrained. A row: {"path": "media/ab/ab12.png", "label": "9"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from core.atomic_files import read_json, write_json
from core.errors import BadRequest
from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Interface, Place, Predictions, Task
from pipelines.media.pictures import NoPicture, decode, opened
from pipelines.tasks.parts import classification

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from PIL import Image
    from torch import Tensor, nn

PREDICT_BATCH = 64  # pictures
LARGEST_SIDE = 224  # pixels, unless the recipe says more: what most pretrained models were trained on
BASELINE_SIDE = 28  # pixels: logistic regression sees the picture no larger than this
MEASURED_ROWS = 5000  # pictures that the mean and deviation are taken from
_PICTURE = "picture.json"
_MODES = {"grayscale": "L", "rgb": "RGB"}
_GRAY_MODES = ("1", "L", "I;16")


class Options(Section):
    size: Annotated[
        int | None, Field(ge=8, le=1024, description="pixels a side; by default the largest of the data, at most 224")
    ] = None
    channels: Annotated[
        Literal["grayscale", "rgb"] | None, Field(description="by default rgb if any training picture has colour")
    ] = None
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
        picture = {
            "size": _side(options, known, batches),
            "channels": _channels(options, known, batches),
            "flip": options.flip,
        }
        some = list(islice((path for rows in batches for path in rows["path"]), MEASURED_ROWS))
        write_json(at.folder / _PICTURE, picture | (_statistics(known) or _measure(some, at.media, picture)))
        self._config(at.base, at.folder)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        picture = read_json(at.folder / _PICTURE)
        pixels = _pixels(rows["path"].tolist(), at.media, picture)
        flat = pa.array(pixels.reshape(-1))
        return pa.table(
            {
                "pixels": pa.FixedSizeListArray.from_arrays(flat, pixels[0].size),
                "labels": pa.array(self.truth(rows, at)["label"]),
            }
        )

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
            module.eval(), picture=read_json(folder / _PICTURE), labels=classification.read_labels(folder)
        )

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        labels, classes = self.truth(train, at)["label"], len(classification.read_labels(at.folder))
        picture = read_json(at.folder / _PICTURE)
        picture["size"] = min(BASELINE_SIDE, picture["size"])
        seen, asked = (_pixels(rows["path"].tolist(), at.media, picture) for rows in (train, units))
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
        if read_json(at.folder / _PICTURE)["flip"]:
            module.register_forward_pre_hook(_mirror_half, with_kwargs=True)
        return module

    def _config(self, base: Base, folder: Path) -> Any:
        """The network's configuration. Raises BadRequest where base, pictures and labels do not fit each other."""
        from transformers import AutoModelForImageClassification

        from pipelines.tasks.parts.architecture import new_config, stored_config

        picture, names = read_json(folder / _PICTURE), classification.read_labels(folder)
        channels = _shape(picture)[0]
        if base.architecture is None:
            config = stored_config(base)
        else:
            config = new_config(base.architecture, {"num_channels": channels, "image_size": picture["size"]})
        if type(config) not in AutoModelForImageClassification._model_mapping:
            raise BadRequest(
                f"model.base: {config.model_type} does not classify pictures. Allowed: resnet, vit, convnext, swin and "
                "others of transformers' AutoModelForImageClassification."
            )
        if getattr(config, "num_channels", channels) != channels:
            raise BadRequest(
                f"model.base: num_channels is {config.num_channels}, and the pictures are {picture['channels']} "
                f"({channels}). Change it, or preprocess.channels."
            )
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
        return config


class ImagePredictor:
    def __init__(self, module: Any, *, picture: Mapping[str, Any], labels: Sequence[str]) -> None:
        self.module, self.picture, self.labels = module, picture, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        import numpy as np
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module.to(device)
        paths, parts = rows["path"].tolist(), []
        with torch.inference_mode():
            for start in range(0, len(paths), PREDICT_BATCH):
                pixels = _pixels(paths[start : start + PREDICT_BATCH], media or Path(), self.picture)
                parts.append(self.module(pixel_values=_scaled(pixels, self.picture).to(device)).logits.cpu().numpy())
        return {"probabilities": classification.softmax(np.concatenate(parts))}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return classification.answers(predictions, self.labels)

    def interface(self) -> Interface:
        import torch

        inputs = {"pixel_values": torch.zeros(2, *_shape(self.picture))}
        return Interface(inputs, {"pixel_values": ("pictures", None, None, None)}, ("logits",))


def _collator(folder: Path) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    import numpy as np
    import torch

    picture = read_json(folder / _PICTURE)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        pixels = np.stack([row["pixels"] for row in rows]).reshape(-1, *_shape(picture))
        return {"pixel_values": _scaled(pixels, picture), "labels": torch.tensor([row["labels"] for row in rows])}

    return collate


def _shape(picture: Mapping[str, Any]) -> tuple[int, int, int]:
    return (1 if picture["channels"] == "grayscale" else 3, picture["size"], picture["size"])


def _pixels(paths: Sequence[str], media: Path, picture: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Decoded pictures at one size: (pictures, channels, size, size) in uint8."""
    import numpy as np
    from PIL import Image, ImageOps

    channels, size, _ = _shape(picture)
    pixels = np.empty((len(paths), channels, size, size), dtype=np.uint8)
    for at, path in enumerate(paths):
        try:
            with opened(media / path) as found:
                decode(found)
                upright = _eight_bits(ImageOps.exif_transpose(found)).convert(_MODES[picture["channels"]])
        except (OSError, NoPicture) as error:
            raise BadRequest(f"{path}: no picture that can be decoded ({error}).") from None
        if upright.size != (size, size):
            upright = upright.resize((size, size), Image.Resampling.BILINEAR)
        pixels[at] = np.asarray(upright).reshape(size, size, channels).transpose(2, 0, 1)
    return pixels


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Pillow cuts 16 bits off at 255 instead of scaling them."""
    import numpy as np
    from PIL import Image

    if not picture.mode.startswith("I;16"):
        return picture
    return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))


def _scaled(pixels: np.ndarray[Any, Any], picture: Mapping[str, Any]) -> Tensor:
    """uint8 pixels as the network wants them: mean 0, deviation 1 a channel."""
    import torch

    mean, deviation = (torch.tensor(picture[name]).view(1, -1, 1, 1) for name in ("mean", "deviation"))
    return (torch.from_numpy(pixels).float() / 255 - mean) / deviation


def _measure(paths: Sequence[str], media: Path, picture: Mapping[str, Any]) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel, 0 to 1, a batch of pictures in memory at a time."""
    import numpy as np

    sums = np.zeros((2, _shape(picture)[0]))
    for start in range(0, len(paths), PREDICT_BATCH):
        values = _pixels(paths[start : start + PREDICT_BATCH], media, picture) / 255
        sums += [values.sum(axis=(0, 2, 3)), (values**2).sum(axis=(0, 2, 3))]
    mean, square = sums / (len(paths) * picture["size"] ** 2)
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-6))
    return {"mean": mean.round(6).tolist(), "deviation": deviation.round(6).tolist()}


def _of_base(base: Base) -> dict[str, Any] | None:
    """How a pretrained base wants its pictures: from its picture.json or preprocessor_config.json, if it has one."""
    if base.folder is None:
        return None
    if (base.folder / _PICTURE).is_file():
        return dict(read_json(base.folder / _PICTURE))
    if not (base.folder / "preprocessor_config.json").is_file():
        return None
    told = read_json(base.folder / "preprocessor_config.json")
    size = told.get("size")
    side = size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
    mean = told.get("image_mean")
    channels = "grayscale" if mean is not None and len(mean) == 1 else "rgb"
    return {"size": side, "channels": channels, "mean": mean, "deviation": told.get("image_std")}


def _side(options: Options, known: Mapping[str, Any] | None, batches: Iterable[pd.DataFrame]) -> int:
    if options.size is not None:
        return options.size
    if known is not None and known["size"] is not None:
        return int(known["size"])
    return min(LARGEST_SIDE, max(int(rows[["width", "height"]].max().max()) for rows in batches))


def _channels(options: Options, known: Mapping[str, Any] | None, batches: Iterable[pd.DataFrame]) -> str:
    if options.channels is not None:
        return options.channels
    if known is not None:
        return str(known["channels"])
    return "grayscale" if all(rows["mode"].isin(_GRAY_MODES).all() for rows in batches) else "rgb"


def _statistics(known: Mapping[str, Any] | None) -> dict[str, list[float]] | None:
    if known is None or known["mean"] is None or known["deviation"] is None:
        return None
    return {"mean": known["mean"], "deviation": known["deviation"]}


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
