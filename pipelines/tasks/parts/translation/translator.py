"""A trained model that writes a text from each source. Imports torch at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.tables.task import Predictions
from pipelines.tasks.parts import text_input
from pipelines.tasks.parts.generation.text_decoding import Decoding, written
from pipelines.tasks.parts.translation import pair_input, seq2seq

if TYPE_CHECKING:
    import pandas as pd


class Translator:
    def __init__(self, module: Any, folder: Path, base: Path | None = None) -> None:
        """folder: as prepare() left it. base: where its tokenizer lies; None: there too."""
        self.module, self.folder, self.base = module, folder, base
        self.options, self.pad = pair_input.read_options(folder), text_input.pad(folder, base)
        self.tokenizer = text_input.uncut(folder, base)
        ends = module.generation_config.eos_token_id
        self.decoding = Decoding(self.options.max_target_tokens, tuple(np.atleast_1d(ends).tolist()), self.pad)

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        """text: what is written, the likeliest token each time. confidence: see seq2seq.sureness()."""
        sources = pair_input.source_ids([self.options.prefix + text for text in rows["source"]], self.folder, self.base)
        found = written(self.module, sources, self.decoding)
        ended = [ids if len(ids) >= self.decoding.most else [*ids, self.decoding.ends[0]] for ids in found]
        return {
            "text": np.array([self.tokenizer.decode(ids).strip() for ids in found], dtype=object),
            "confidence": seq2seq.sureness(self.module, sources, ended, self.pad),
        }

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame({name: predictions[name] for name in ("text", "confidence") if name in predictions})
