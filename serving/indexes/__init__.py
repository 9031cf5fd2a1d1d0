"""Search, answers and documents of published indexes."""
