"""Whoever wants to know of a run: the terminal, Prefect's page, a notice, OpenLineage."""
