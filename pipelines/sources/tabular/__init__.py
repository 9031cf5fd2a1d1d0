"""What the readers of tables share: heads, rows of delimited text, the values of a JSON text."""
