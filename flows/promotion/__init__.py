"""Champions and releases moved, watched, and asked about."""
