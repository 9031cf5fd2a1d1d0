"""What each task's battery learns from: made data with one planted fault, and a small network."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from PIL import Image

from core.schema.model import Architecture
from core.tables.spans import entities
from core.tables.task import Predictions
from pipelines.bases import identify
from pipelines.tasks.parts.language import masking
from pipelines.tasks.parts.pictures import drawn
from tests.conftest import TINY_RECIPE, Workspace, film_rows
from tests.small_pairs import make_base, pair_rows


@dataclass(frozen=True)
class Sample:
    """Data with one planted fault, and a network small enough to learn from it in seconds.

    architecture: None for a task that goes on from a base, which `write` then leaves in start/. said: of predictions,
    what is compared between two ways to get them. expected: the same from the module itself, and how close that is.
    drawn: whether the learner begins with numbers that its seed draws, if only those of a head on a base.
    """

    write: Callable[[Workspace], None]
    recipe: str
    fault: str  # words of the reason that quarantine gives
    architecture: Architecture | None
    said: Callable[[Predictions], np.ndarray[Any, Any]] = lambda said: said["probabilities"]
    expected: Callable[[Any, dict[str, torch.Tensor], pd.DataFrame], torch.Tensor] = lambda module, batch, units: (
        module(**batch).logits.softmax(dim=-1)
    )
    close: float = 1e-5
    rate: float = 2e-2  # to overfit a batch with
    drawn: bool = True


def _texts(workspace: Workspace) -> None:
    workspace.write_rows([*film_rows(160), {"text": "  ", "label": "pos"}])


def _pictures(workspace: Workspace) -> None:
    random = np.random.default_rng(1)
    for number in range(160):
        pixels = random.integers(0, 120, (12, 12), dtype=np.uint8)
        label = ("left", "right")[number % 2]
        pixels[:, slice(0, 6) if label == "left" else slice(6, 12)] += 120
        file = workspace.path("pictures", label, f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    workspace.path("pictures", "left", "torn.png").write_bytes(_png(pixels)[:60])


def _sounds(workspace: Workspace) -> None:
    random = np.random.default_rng(1)
    for number in range(160):
        label, seconds = ("high", "low")[number % 2], 0.1 + 0.05 * random.random()
        time = np.arange(int(8000 * seconds)) / 8000
        tone = np.sin(2 * np.pi * random.uniform(*((1500, 2500), (200, 600))[number % 2]) * time)
        file = workspace.path("sounds", f"{label}_{number}.wav")
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, 0.3 * tone + 0.05 * random.standard_normal(len(time)), 8000)
    workspace.path("sounds", "low_torn.wav").write_bytes(file.read_bytes()[:900])


def _pairs(workspace: Workspace) -> None:
    workspace.write_rows([*pair_rows(160), {"query": "who wrote story 7", "passage": " ", "negative": ""}])
    make_base(workspace.path("start"))
    pin_base(workspace)


def _questions(workspace: Workspace) -> None:
    rows = question_rows(160)
    lost = {"question": "where is Max", "context": "Max is at home.", "answers": '["Berlin"]'}
    workspace.write_rows([*rows, lost])
    texts = [text for row in rows for text in (row["question"], row["context"])]
    make_base(workspace.path("start"), texts=texts, vocabulary=400)
    pin_base(workspace)


def question_rows(count: int) -> list[dict[str, str]]:
    """Who is where: the place in the sentence with the name of the question. Two questions a context."""
    people, towns = ("Ann", "Bo", "Cy", "Dee", "Eve"), ("Rome", "Oslo", "Bonn", "Lima")
    rows = []
    for at in range(count):
        number, asked = divmod(at, 2)
        facts = [(people[(number + each) % 5], towns[(number // 5 + each) % 4]) for each in range(3)]
        context = f"{' '.join(f'{name} is in {town}.' for name, town in facts)} So it says in letter {number}."
        name, town = facts[(asked + number) % 3]
        rows.append({"question": f"where is {name}", "context": context, "answers": json.dumps([town])})
    return rows


def _surest(module: Any, batch: dict[str, torch.Tensor], units: pd.DataFrame) -> torch.Tensor:
    """How probable the best span of each window is, of at most four tokens."""
    begins, ends = module(**batch).logits.softmax(dim=1).unbind(dim=2)
    spans = begins[:, 1:, None] * ends[:, None, 1:]
    best: torch.Tensor = (spans.triu() - spans.triu(diagonal=4)).flatten(1).amax(dim=1)
    return best


def pin_base(workspace: Workspace) -> None:
    """What the lock says of the base in start/."""
    identity = identify("./start", workspace.root).model_dump()
    workspace.write("recipes/tiny.lock", json.dumps({"source": {"kind": "path"}, "bases": {"./start": identity}}))


def _steps(workspace: Workspace) -> None:
    rows = [
        {"time": f"2016-07-{1 + at // 24:02}T{at % 24:02}:00", "value": math.sin(at * math.pi / 3)} for at in range(200)
    ]
    workspace.write_rows([*rows, {"time": "yesterday", "value": 1.0}])


def _table(workspace: Workspace) -> None:
    """A number and a category say the label, and the target; some cells are empty, and one holds no number."""
    random = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    for at in range(200):
        size, color, day = float(random.normal()), ("red", "green", "blue")[at % 3], 1 + at % 28
        large = size + (1.5 if color == "red" else 0.0) > 0.5
        cells = {"size": size if at % 17 else "", "color": color if at % 19 else "", "day": f"2024-02-{day:02}"}
        told = {"label": "large" if large else "small", "target": 3 * size + (4.0 if color == "red" else 0.0)}
        rows.append({**cells, "width": round(float(random.normal()), 1), **told})
    workspace.write_rows([*rows, {**rows[0], "width": "wide"}])


def _entities(workspace: Workspace) -> None:
    lines = []
    for at in range(160):
        name, place = ("Ann", "Bo", "Cy Twombly")[at % 3].split(), ("Rome", "New York")[at % 2].split()
        words = [*name, "goes", "to", *place, "again", str(at)]
        tags = ["B-per", *["I-per"] * (len(name) - 1), "O", "O", "B-loc", *["I-loc"] * (len(place) - 1), "O", "O"]
        lines += [f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True)] + [""]
    workspace.write("rows.conll", "\n".join([*lines, "lost B_per"]))


def _least_sure(module: Any, batch: dict[str, torch.Tensor], units: pd.DataFrame) -> torch.Tensor:
    """How sure a module is of the span that it is least sure of, a text: the mean over the span's words."""
    sure, tags = module(**batch).logits.softmax(dim=-1).max(dim=-1)
    names = ["O", "B-loc", "I-loc", "B-per", "I-per"]
    least = []
    for row, words in enumerate(batch["labels"] >= 0):
        found = entities([names[tag] for tag in tags[row][words]])
        means = [float(sure[row][words][span.start : span.end].mean()) for span in found]
        least.append(min(means, default=1.0))
    return torch.tensor(least)


def _surprise_by_hand(module: Any, batch: dict[str, torch.Tensor], units: pd.DataFrame) -> torch.Tensor:
    """The surprise of each text whose tokens are hidden in turns, one text and one turn after another."""
    ids = batch["input_ids"].flatten().index_copy(0, batch["hidden"], batch["labels"]).view_as(batch["input_ids"])
    found = []
    for row, mask in zip(ids, batch["attention_mask"], strict=True):
        own = row[mask.bool()].numpy()
        masks = masking.Masks(mask=4, special=np.arange(5), share=0.15, vocabulary=0)
        total = 0.0
        for hidden in masks.hidden([masking.Window(0, own)]):
            places, true = torch.from_numpy(hidden.places), torch.from_numpy(hidden.true)
            said = module.model(input_ids=torch.from_numpy(hidden.ids)[None], attention_mask=torch.ones(1, len(own)))
            total -= float(said.logits[0, places].log_softmax(dim=-1)[torch.arange(len(true)), true].sum())
        found.append(total)
    return torch.tensor(found)


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


_WITHOUT_LABELS = TINY_RECIPE.replace("text_classification", "masked_language_modeling").replace(
    "{text: text, label: label}", "{text: text}"
)
_BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
_PICTURES = "data: {source: pictures, reader: labelled_folders, split: {train: 0.6, validation: 0.2, test: 0.2}}"
SAMPLES = {
    "text_classification": Sample(_texts, TINY_RECIPE, "empty", Architecture(architecture="bert", settings=_BERT)),
    "image_classification": Sample(
        _pictures,
        f"task: image_classification\n{_PICTURES}\nmodel: {{base: {{architecture: resnet}}, method: pretrain}}\n",
        "picture",
        Architecture(architecture="resnet", settings=_RESNET),
    ),
    "audio_classification": Sample(
        _sounds,
        "task: audio_classification\n"
        'data: {source: sounds, reader: folders, name_pattern: "{label}_{take}.wav", '
        "split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
        "model: {base: {architecture: mel_gru}, method: pretrain}\n",
        "cut off",
        Architecture(architecture="mel_gru", settings={"hidden_size": 16, "num_layers": 1}),
    ),
    "token_classification": Sample(
        _entities,
        "task: token_classification\ndata: {source: rows.conll, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
        "model: {base: {architecture: bert}, method: pretrain}\n",
        "'B_per' is no tag",
        Architecture(architecture="bert", settings=_BERT),
        said=lambda said: said["confidence"],
        expected=_least_sure,
    ),
    "masked_language_modeling": Sample(
        _texts,
        _WITHOUT_LABELS,
        "empty",
        Architecture(architecture="bert", settings=_BERT),
        said=lambda said: said["surprise"],
        expected=_surprise_by_hand,
        close=1e-3,  # sums of some 20 tokens
    ),
    "sentence_embedding": Sample(
        _pairs,
        "task: sentence_embedding\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
        "model: {base: ./start}\n",
        "empty",
        None,
        said=lambda said: np.stack(list(said["vector"])),
        expected=lambda module, batch, units: module.embed(batch["query_ids"], batch["query_mask"]),
        rate=5e-3,
        drawn=False,
    ),
    "question_answering": Sample(
        _questions,
        "task: question_answering\n"
        "data: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2, group_by: context}}\n"
        "preprocess: {max_tokens: 40, max_answer_tokens: 4}\nmodel: {base: ./start}\n",
        "'Berlin' is not in the context",
        None,
        said=lambda said: said["confidence"],
        expected=_surest,
    ),
    "image_generation": Sample(
        _pictures,
        f"task: image_generation\n{_PICTURES}\npreprocess: {{size: 8}}\n"
        "model: {base: {architecture: gan}, method: pretrain}\n",
        "picture",
        Architecture(architecture="gan", settings={"noise": 4, "width": 8}),
        said=lambda said: drawn.as_pictures(np.stack([drawn.from_uri(uri) for uri in said["picture"]])).numpy(),
        expected=lambda module, batch, units: (
            module.sampler(drawn.noise(units["seed"], module.sampler.noise_shape), batch["labels"]).pictures
        ),
        close=1.01 / 127.5,  # a level of 255
    ),
    "tabular_classification": Sample(
        _table,
        "task: tabular_classification\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
        "preprocess: {numbers: [size, width], categories: [color], dates: [day]}\n"
        "model: {base: {architecture: mlp}, method: pretrain}\n",
        "not a number: 'wide'",
        Architecture(architecture="mlp", settings={"hidden_sizes": [32]}),
    ),
    "tabular_regression": Sample(
        _table,
        "task: tabular_regression\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
        "preprocess: {numbers: [size, width], categories: [color], dates: [day]}\n"
        "model: {base: {architecture: mlp}, method: pretrain}\n",
        "not a number: 'wide'",
        Architecture(architecture="mlp", settings={"hidden_sizes": [32]}),
        said=lambda said: said["number"],
        expected=lambda module, batch, units: module(**batch).logits[:, 0],
    ),
    "time_series_forecasting": Sample(
        _steps,
        "task: time_series_forecasting\n"
        "data: {source: rows.csv, split: {time: time, train: 0.6, validation: 0.2, test: 0.2, gap: 1}}\n"
        "preprocess: {context: 12, horizon: 4, season: 6, stride: 1}\n"
        "model: {base: {architecture: lstm}, method: pretrain}\n",
        "not a time",
        Architecture(architecture="lstm", settings={"hidden_size": 16}),
        said=lambda said: said["forecast"],
        expected=lambda module, batch, units: module(past=batch["past"]).forecast.flatten(1),
    ),
}
