"""A first recipe or index: a look at somebody's data, what suits it, and the settings file that says so."""
