"""What tasks share whose inputs or answers are pictures: reading, drawing, and comparing drawn ones with real ones."""
