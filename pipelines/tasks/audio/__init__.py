"""Tasks over sounds: one file a family."""
