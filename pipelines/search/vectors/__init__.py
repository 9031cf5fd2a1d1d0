"""Texts as vectors: tokens, models, and the table of vectors."""
