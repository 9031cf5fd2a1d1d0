"""A recipe or an index read with its task's defaults, every mistake at once, for stages and commands."""
