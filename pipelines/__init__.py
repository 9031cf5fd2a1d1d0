"""What is done with data and documents: a folder a stage, `python -m pipelines.STAGE NAME`, and what stages share."""
