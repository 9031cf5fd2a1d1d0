"""Texts in which a word says the label."""

from __future__ import annotations

from tests.conftest import TINY_RECIPE
from tests.samples import BERT, Sample, write_texts

SAMPLE = Sample(write_texts, TINY_RECIPE, "empty", BERT)
