"""The stage collect: rows of a source -> raw/."""
