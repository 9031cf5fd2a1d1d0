"""How well texts are foretold by what stands before each token: nats a character, nats a token, whole texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.tables.task import Predictions, RowAnswers
from pipelines.tasks.parts.plots import drawn

METRICS: Mapping[str, bool] = {"nats_a_character": False, "nats_a_token": False, "perplexity": False, "exact": True}
_MOST = 99.0  # percentile at which the plot ends

Array = np.ndarray[Any, np.dtype[Any]]


def said(surprise: Array, likeliest: Array, of: Array, *, texts: Sequence[str], tokenizer: int) -> Predictions:
    """What a model says of some texts.

    surprise: of each token the negative logarithm of the probability that the model gave it. likeliest: whether no
    other token was likelier. of: which text it is of. tokenizer: its number (language/masking.py).
    """
    count = len(texts)
    return {
        "surprise": np.bincount(of, surprise, minlength=count),
        "missed": np.bincount(of, ~likeliest, minlength=count).astype(np.int64),
        "tokens": np.bincount(of, minlength=count),
        "characters": np.array([len(text) for text in texts], np.int64),
        "tokenizer": np.full(count, tokenizer),
    }


def truth(texts: int, tokenizer: int) -> Predictions:
    """In which tokens figures a token are to be: those in other tokens cannot be compared with them."""
    return {"own_tokenizer": np.full(texts, tokenizer)}


def measure(predictions: Predictions) -> Predictions:
    """Each text's sums; no number of tokens where they are others. A text of which nothing was foretold is none."""
    foretold = predictions["tokens"] > 0
    other = predictions["tokenizer"] != predictions["own_tokenizer"]
    return {
        "surprise": predictions["surprise"],
        "characters": predictions["characters"] * foretold,
        "tokens": np.where(other, np.nan, predictions["tokens"]),
        "texts": foretold.astype(float),
        "exact": (foretold & (predictions["missed"] == 0)).astype(float),
    }


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """The mean surprise of a character and of a token, its end's among a text's; e to the latter; and `exact`: of how
    many texts each token was the likeliest one, so that greedy decoding writes them.
    """
    total = {name: float(weights @ values) for name, values in measured.items()}
    if not total["texts"]:
        return dict.fromkeys(METRICS, np.nan)
    token = total["surprise"] / total["tokens"]
    return {
        "nats_a_character": total["surprise"] / max(1.0, total["characters"]),
        "nats_a_token": token,
        "perplexity": float(np.exp(token)),
        "exact": total["exact"] / total["texts"],
    }


def of_texts(predictions: Predictions) -> Array:
    """Each text's nats a character; 0 of one of which nothing was foretold."""
    found: Array = predictions["surprise"] / np.maximum(predictions["characters"], 1)
    return found


def by_row(predictions: Predictions) -> RowAnswers:
    return RowAnswers(of_texts(predictions), "nats a character")


def plots(predictions: Predictions, *, folder: Path) -> None:
    """nats.png: how many texts have how many nats a character."""
    values = of_texts(predictions)
    with drawn(folder / "nats.png", 5.2, 3.6) as (axes, _):
        axes.hist(values, bins=40, range=(0, max(1.0, float(np.percentile(values, _MOST)))))
        axes.set(xlabel="nats a character", ylabel="texts", title="How well each text is foretold")
