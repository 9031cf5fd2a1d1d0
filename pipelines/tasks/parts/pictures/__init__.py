"""What tasks share whose inputs or answers are pictures: reading, drawing, and how near drawn ones come to real ones."""
