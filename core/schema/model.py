"""`model:`, `training:` and `compute:`: what is trained, how, and on what."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from core.errors import BadRequest, near
from core.schema.section import Section

OwnSettings = TypeVar("OwnSettings", bound=Section)


class Architecture(Section):
    """A base with nothing pretrained: a transformers model type and its configuration's own settings."""

    architecture: Annotated[str, Field(min_length=1, description="transformers' model_type: bert, resnet, vit ...")]
    settings: dict[str, Any] = {}
    tokenizer: Annotated[str | None, Field(description="reference of a tokenizer; by default one is trained")] = None

    def settings_as(self, kind: type[OwnSettings]) -> OwnSettings:
        """The settings of an architecture of our own. Raises BadRequest that names every mistake in them."""
        try:
            return kind.model_validate(self.settings)
        except ValidationError as error:
            names = kind.model_fields
            found = []
            for each in error.errors():
                guess = near(str(each["loc"][0]), names) if each["type"] == "extra_forbidden" else ""
                where = ".".join(map(str, ("model.base.settings", *each["loc"])))
                found.append(f"{where}: {each['msg']}. {guess}".rstrip())
            raise BadRequest(f"{' '.join(found)} {self.architecture} has: {', '.join(names) or 'none'}.") from None


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021): weights move by alpha / rank times B A."""

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[str | list[str], Field(description="module names or a regular expression")] = "all-linear"
    dora: Annotated[
        bool, Field(description="learn the weights' lengths apart from their directions (DoRA, Liu et al. 2024)")
    ] = False


Method = Literal["pretrain", "full", "lora", "transfer"]


class Model(Section):
    base: Annotated[
        str | Architecture, Field(description="hub id, path, package://, models:/NAME@ALIAS, or an architecture")
    ]
    method: Method = "full"
    lora: Lora | None = None
    dropout: Annotated[float | None, Field(ge=0, lt=1, description="in the base; by default the method's")] = None


class Training(Section):
    """Units: epochs over the training split, examples a batch, updates of weights."""

    epochs: Annotated[float, Field(gt=0)] = 3.0
    batch_size: Annotated[int, Field(ge=1)] = 32
    accumulate: Annotated[int, Field(ge=1, description="batches a weight update")] = 1
    learning_rate: Annotated[float, Field(gt=0, lt=10)] = 1e-4
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the updates")] = 0.1
    weight_decay: Annotated[float, Field(ge=0, description="L2: weights shrink by it; biases and norms do not")] = 0.01
    l1: Annotated[float, Field(ge=0, description="penalty of the weights' sizes; not of biases and norms")] = 0.0
    class_weights: Annotated[
        Literal["balanced"] | None,
        Field(description="of the loss: each label counts the more, the fewer training rows have it"),
    ] = None
    label_smoothing: Annotated[
        float, Field(ge=0, lt=1, description="share of the true label that training spreads over all labels")
    ] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    average: Annotated[
        float | None,
        Field(gt=0, lt=1, description="decay of a moving average of the weights; validation and the model have it"),
    ] = None
    precision: Annotated[
        Literal["float32", "bf16", "fp16"],
        Field(description="of matrix products; weights stay in float32. fp16 needs a GPU"),
    ] = "float32"
    gradient_checkpointing: Annotated[
        bool, Field(description="compute activations again instead of keeping them: less memory, a third more time")
    ] = False
    compile: Annotated[
        bool, Field(description="compile the module with torch.compile first: pays in long trainings")
    ] = False
    patience: Annotated[int | None, Field(ge=1, description="epochs without a better validation loss")] = None
    seed: Annotated[int, Field(ge=0)] = 7


class Compute(Section):
    engine: Literal["local"] = "local"
    threads: Annotated[int, Field(ge=1, le=256, description="they decide a result's last bits, so are part of it")] = 2
