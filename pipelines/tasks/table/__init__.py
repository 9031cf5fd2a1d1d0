"""Tasks over rows of a table: one file a family."""
