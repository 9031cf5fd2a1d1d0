"""The workspace's own Prefect and MLflow servers; who works on it now."""
