"""Rows of a recipe or an index for people who look at them: as they were read, refused, or answered wrong."""
