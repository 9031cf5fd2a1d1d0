"""Which recipes and indexes are live, what they point at, what is wrong, what is stale."""
