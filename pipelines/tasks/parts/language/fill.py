"""A masked language model that is asked: for the words behind masks, or how well it foretells a whole text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json, write_json
from core.tables.task import Interface, Predictions
from pipelines.tasks.parts import text_input, tokens
from pipelines.tasks.parts.language import masking, perplexity

if TYPE_CHECKING:
    import pandas as pd

PREDICT_BATCH = 64  # windows; sorted by length first, so little of it is padding
BEST = 5  # words that are answered for each mask
_DECIMALS = 6  # of a probability that is answered
_SHARE = "hidden.json"
_TEXTS = 2000  # whose windows are in memory at once, each as often as tokens of it are hidden


class FillPredictor:
    def __init__(self, module: Any, folder: Path, base: Path | None = None) -> None:
        """module: MaskedLm, or what is asked alike. folder: as prepare() left it; base: where its tokenizer is, if not
        there.
        """
        mask = tokens.mask_token(folder)
        assert mask is not None
        self.module, self.mask = module, mask
        self.tokenizer, self.masks = text_input.tokenizer(folder, base), read_masks(folder, base)
        self.pad = text_input.pad(folder, base)
        self.code = masking.tokenizer_code((base or folder) / tokens.FILE)

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        """How well each text is foretold, as perplexity.said() has it, each token hidden once.

        Of texts with masks nothing is hidden but what the masks hide: `words` has the likeliest words for each of them,
        where there are any such texts.
        """
        texts = [text.replace(tokens.MASK, self.mask) for text in rows["text"]]
        parts = [self._some(texts[at : at + _TEXTS]) for at in range(0, max(1, len(texts)), _TEXTS)]
        said = {name: np.concatenate([scores[name] for scores, _ in parts]) for name in parts[0][0]}
        words = [each for _, found in parts for each in found]
        if not any(words):
            return said
        column = np.empty(len(words), dtype=object)
        column[:] = words
        return {**said, "words": column}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        """`words`: for each mask the likeliest words, {word, probability}; None for a text without masks.

        `perplexity`: of a text without masks; None for others.
        """
        import pandas as pd

        words = predictions.get("words", [None] * len(predictions["tokens"]))
        texts = zip(perplexity.of_texts(predictions).tolist(), predictions["tokens"].tolist(), strict=True)
        return pd.DataFrame(
            {
                "words": pd.Series([each or None for each in words], dtype=object),
                "perplexity": pd.Series([value if count else None for value, count in texts], dtype=object),
            }
        )

    def interface(self) -> Interface:
        import torch

        from pipelines.tasks.parts.encoder import pad_tokens

        inputs = {**pad_tokens([[self.pad] * 3, [self.pad] * 2], self.pad), "hidden": torch.tensor([1, 4])}
        axes = dict.fromkeys(("input_ids", "attention_mask"), ("texts", "tokens"))
        return Interface(inputs, {**axes, "hidden": ("places",)}, ("logits",))

    def _some(self, texts: list[str]) -> tuple[Predictions, list[list[Any]]]:
        from pipelines.tasks.parts.language import masked_lm

        windows = masking.windows(self.tokenizer, texts)
        asked = {window.of for window in windows if (window.ids == self.masks.mask).any()}
        hidden = list(self.masks.hidden(windows, asked))
        surprise, best, chances = masked_lm.asked(
            self.module, hidden, pad=self.pad, batch_size=PREDICT_BATCH, best=BEST
        )
        of = masking.texts_of(hidden, windows)
        scored = ~np.isin(of, list(asked))
        true = np.concatenate([each.true for each in hidden]) if hidden else np.empty(0)
        scores = perplexity.said(
            surprise[scored], (best[:, 0] == true)[scored], of[scored], texts=len(texts), tokenizer=self.code
        )
        words: list[list[Any]] = [[] for _ in texts]
        for text, words_, probabilities in zip(of[~scored], best[~scored], chances[~scored], strict=True):
            words[text].append(self._named(words_.tolist(), probabilities.tolist()))
        return scores, words

    def _named(self, best: list[int], probabilities: list[float]) -> list[dict[str, Any]]:
        return [
            {
                "word": self.tokenizer.decode([token], skip_special_tokens=False).strip(),
                "probability": round(probability, _DECIMALS),
            }
            for token, probability in zip(best, probabilities, strict=True)
        ]


def write_share(share: float, folder: Path) -> None:
    """Keep which share of the tokens is hidden at once."""
    write_json(folder / _SHARE, share)


def read_masks(folder: Path, base: Path | None = None) -> masking.Masks:
    """How tokens are hidden, by what prepare() left in `folder`."""
    mask = tokens.mask_token(folder)
    assert mask is not None
    return masking.masks_of(text_input.tokenizer(folder, base), mask, read_json(folder / _SHARE))
