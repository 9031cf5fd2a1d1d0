"""Readers of layouts that data sets are published in, mostly named by `reader:`."""
