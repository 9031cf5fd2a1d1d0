"""The stage train: prepared/ -> model/, resumed exactly where it was killed."""
