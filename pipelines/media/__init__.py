"""Media, opened safely, measured, kept by hash."""
