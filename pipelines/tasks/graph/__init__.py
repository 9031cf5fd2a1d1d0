"""Tasks over graphs: their nodes, or graphs as a whole."""
