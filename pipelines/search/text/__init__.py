"""Texts as sentences, passages and terms."""
