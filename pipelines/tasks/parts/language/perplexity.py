"""How well tokens are foretold: statistics a text, perplexity and accuracy. Figures a token are of one tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.tables.task import Predictions, RowAnswers
from pipelines.tasks.parts.plots import drawn

METRICS: Mapping[str, bool] = {"perplexity": False, "accuracy": True}
_MOST = 99.0  # percentile at which the plot ends

Array = np.ndarray[Any, np.dtype[Any]]


def said(surprise: Array, right: Array, of: Array, *, texts: int, tokenizer: int) -> Predictions:
    """What a model says of some texts.

    surprise: of each token the negative logarithm of the probability that the model gave it. right: whether it was the
    most probable one. of: which text it is of. tokenizer: its number (masking.py).
    """
    return {
        "surprise": np.bincount(of, surprise, minlength=texts),
        "right": np.bincount(of, right, minlength=texts).astype(np.int64),
        "tokens": np.bincount(of, minlength=texts),
        "tokenizer": np.full(texts, tokenizer),
    }


def truth(texts: int, tokenizer: int) -> Predictions:
    """In which tokens the figures are to be: those in other tokens cannot be compared with them."""
    return {"own_tokenizer": np.full(texts, tokenizer)}


def measure(predictions: Predictions) -> Predictions:
    """Each text's sums, no numbers for those in other tokens."""
    other = predictions["tokenizer"] != predictions["own_tokenizer"]
    return {name: np.where(other, np.nan, predictions[name]) for name in ("surprise", "right", "tokens")}


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """perplexity: e to the mean surprise of a token. accuracy: the share of the tokens that were most probable."""
    surprise, right, tokens = (float(weights @ measured[name]) for name in ("surprise", "right", "tokens"))
    if not tokens > 0:
        return dict.fromkeys(METRICS, np.nan)
    return {"perplexity": float(np.exp(surprise / tokens)), "accuracy": right / tokens}


def of_texts(predictions: Predictions) -> Array:
    """Each text's own perplexity; 1 of one without tokens."""
    found: Array = np.exp(predictions["surprise"] / np.maximum(predictions["tokens"], 1))
    return found


def by_row(predictions: Predictions) -> RowAnswers:
    return RowAnswers(np.log(of_texts(predictions)), "mean surprise of a token, in nats")


def plots(predictions: Predictions, *, folder: Path) -> None:
    """perplexity.png: how many texts have which perplexity."""
    values = of_texts(predictions)
    with drawn(folder / "perplexity.png", 5.2, 3.6) as (axes, _):
        axes.hist(values, bins=40, range=(1, max(2.0, float(np.percentile(values, _MOST)))))
        axes.set(xlabel="perplexity of a text's tokens", ylabel="texts", title="Perplexity, text by text")
