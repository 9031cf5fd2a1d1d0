"""Tasks whose rows are steps of time."""
