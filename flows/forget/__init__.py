"""One row or document out of everything that holds it."""
