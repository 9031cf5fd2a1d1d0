"""What a user would write instead: the stock Trainer (+ peft), as transformers' own text-classification example does.

Padding to a fixed length is that example's default (`--pad_to_max_length`, 128 tokens); "longest" is its other setting:
batches drawn at random, each padded to its longest text.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

Method = Literal["lora", "full"]
Padding = Literal["fixed", "longest"]


class StepTimes(TrainerCallback):  # type: ignore[misc]
    """When each step ended, in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())

    def rate(self, batch_size: int, *, warm: int = 2) -> float:
        """Examples a second, the first steps left out."""
        return batch_size * (len(self.ends) - 1 - warm) / (self.ends[-1] - self.ends[warm])


def train(
    rows: pd.DataFrame,
    *,
    base: Path,
    method: Method,
    padding: Padding,
    max_tokens: int,
    batch_size: int,
    learning_rate: float,
    steps: int,
    seed: int,
    test: pd.DataFrame | None = None,
) -> tuple[float, float | None]:
    """Examples a second, and the accuracy on `test` where one is given. rows, test: columns text and label (int)."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=int(rows["label"].nunique()))
    if method == "lora":
        model = get_peft_model(
            model, LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, target_modules="all-linear")
        )
    times = StepTimes()
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=batch_size,
                learning_rate=learning_rate,
                save_strategy="no",
                report_to="none",
                seed=seed,
                disable_tqdm=True,
                log_level="error",
                logging_strategy="no",
                dataloader_pin_memory=torch.cuda.is_available(),
            ),
            train_dataset=_encoded(rows, tokenizer, padding, max_tokens),
            data_collator=default_data_collator if padding == "fixed" else DataCollatorWithPadding(tokenizer),
            callbacks=[times],
        )
        trainer.train()
        if test is None:
            return times.rate(batch_size), None
        logits = trainer.predict(_encoded(test, tokenizer, "longest", max_tokens)).predictions
    return times.rate(batch_size), float(np.mean(np.argmax(logits, axis=1) == test["label"].to_numpy()))


def _encoded(rows: pd.DataFrame, tokenizer: Any, padding: Padding, max_tokens: int) -> Any:
    from datasets import Dataset

    encoded = tokenizer(
        list(rows["text"]),
        truncation=True,
        max_length=max_tokens,
        padding="max_length" if padding == "fixed" else False,
    )
    return Dataset.from_dict({**encoded, "labels": rows["label"].tolist()})
