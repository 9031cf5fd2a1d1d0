"""What MLflow holds, read and written; nothing of it is believed."""
