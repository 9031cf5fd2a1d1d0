"""One version: packed, tried, registered, loaded, asked; its lineage."""
