"""Tasks over texts: one file a family."""
