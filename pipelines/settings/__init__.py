"""The stage settings: a recipe or an index with every default filled in."""
