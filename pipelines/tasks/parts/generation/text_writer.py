"""A causal language model that is asked: how a text goes on, what answers a prompt, or how likely a text is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from core.schema.section import Section
from core.tables.task import Predictions
from pipelines.tasks.parts import text_input, tokens
from pipelines.tasks.parts.generation import nats
from pipelines.tasks.parts.generation.chat import texts_of
from pipelines.tasks.parts.generation.sequences import windows
from pipelines.tasks.parts.generation.written_rows import own_texts, sequences, strings
from pipelines.tasks.parts.language.masking import tokenizer_code

if TYPE_CHECKING:
    import pandas as pd

PREDICT_BATCH = 64  # windows; sorted by length first, so little of it is padding
DIALOGUE = "dialogue"  # in options.json: whether the training rows have answers
_TEXTS = 2000  # whose windows are in memory at once
_DECIMALS = 6


class Options(Section):
    max_tokens: Annotated[
        int, Field(ge=8, le=131_072, description="that the model sees at once; a longer text becomes several windows")
    ] = 128
    vocabulary: Annotated[
        int,
        Field(ge=tokens.BYTES, le=200_000, description="entries of a tokenizer learnt here; 259: tokens are bytes"),
    ] = 2000
    max_new_tokens: Annotated[int, Field(ge=1, description="of what is written for a caller")] = 64
    temperature: Annotated[
        float, Field(gt=0, description="of tokens drawn for a caller who sends a seed; below 1: likelier ones")
    ] = 1.0

    @model_validator(mode="after")
    def _leaves_room(self) -> Options:
        if self.max_new_tokens >= self.max_tokens:
            raise ValueError(f"max_new_tokens must be below max_tokens ({self.max_tokens}), got {self.max_new_tokens}")
        return self


class TextWriter:
    def __init__(self, module: Any, folder: Path, base: Path | None = None) -> None:
        """module: CausalLm. folder: as prepare() left it; base: where its tokenizer is, if not there."""
        self.module, self.texts = module, texts_of(folder, base)
        self.options, self.pad = text_input.options(folder), text_input.pad(folder, base)
        self.code = tokenizer_code((base or folder) / tokens.FILE)

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        """As foretold() has it; and `continuation`: how a text without an answer goes on."""
        asked, seeds = rows["text"].tolist(), strings(rows, "seed")
        open_ones = [row for row, answer in enumerate(strings(rows, "answer")) if answer is None]
        column = np.full(len(rows), None, dtype=object)
        column[open_ones] = self._continued([asked[row] for row in open_ones], [seeds[row] for row in open_ones])
        return {**self.foretold(rows), "continuation": column}

    def foretold(self, rows: pd.DataFrame) -> Predictions:
        """How well each text, or each answer to a prompt, is foretold, as nats.said() has it."""
        asked, answers = rows["text"].tolist(), strings(rows, "answer")
        blocks = [slice(at, at + _TEXTS) for at in range(0, max(1, len(rows)), _TEXTS)]
        parts = [self._foretold(asked[block], answers[block]) for block in blocks]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        """`continuation`, or the answer; and `nats_a_character` of what was sent, None where nothing was foretold."""
        import pandas as pd

        nothing = np.full(len(predictions["tokens"]), None, dtype=object)
        found = zip(nats.of_texts(predictions).tolist(), predictions["tokens"].tolist(), strict=True)
        return pd.DataFrame(
            {
                "continuation": pd.Series(predictions.get("continuation", nothing), dtype=object),
                "nats_a_character": pd.Series(
                    [round(value, _DECIMALS) if count else None for value, count in found], dtype=object
                ),
            }
        )

    def _foretold(self, asked: Sequence[str], answers: Sequence[str | None]) -> Predictions:
        from pipelines.tasks.parts.generation import causal_lm

        size = self.options["max_tokens"]
        learnt = sequences(self.texts, asked, answers, dialogue=self.options[DIALOGUE])
        parts = list(windows(learnt, size, context=size // 2))
        surprise, likeliest = causal_lm.foretold(self.module, parts, pad=self.pad, batch_size=PREDICT_BATCH)
        of = np.repeat([part.of for part in parts], [part.own.sum() for part in parts]).astype(np.int64)
        return nats.said(surprise, likeliest, of, texts=own_texts(asked, answers), tokenizer=self.code)

    def _continued(self, asked: Sequence[str], seeds: Sequence[str | None]) -> list[str]:
        """What the model writes behind each text, of which it sees the end where it is long."""
        from pipelines.tasks.parts.generation.text_decoding import Decoding, written

        most = self.options["max_new_tokens"]
        room = self.options["max_tokens"] - most
        begun = (self.texts.asked if self.options[DIALOGUE] else self.texts.begun)(asked)
        decoding = Decoding(most, (self.texts.end,), self.pad, self.options["temperature"])
        found = written(self.module.model, [ids[-room:] for ids in begun], decoding, seeds)
        return [self.texts.text(ids) for ids in found]
