"""The stage chunk: documents -> passages."""
