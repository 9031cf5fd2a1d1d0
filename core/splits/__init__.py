"""Which split a row is of: by its content, its group, its time, or as given."""
