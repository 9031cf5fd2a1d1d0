"""Cells of a table that hold more than one value: spans of a text, answers in it, labels; how each is written."""
