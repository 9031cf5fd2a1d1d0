"""Faults on purpose: real processes killed, real files torn, and what the next run makes of them."""
