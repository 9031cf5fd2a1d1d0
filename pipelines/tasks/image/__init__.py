"""Tasks over pictures: one file a family."""
