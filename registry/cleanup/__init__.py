"""Which versions are needed, freed, or had a row that is forgotten."""
