"""What tasks share whose input is a row of a table: its columns as numbers, and what learns from them."""
