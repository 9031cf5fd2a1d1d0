"""One run: plan, workers, one Prefect flow run, commit."""
