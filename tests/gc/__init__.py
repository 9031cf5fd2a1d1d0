"""`headrace gc`: after any history, what is needed loads and answers; the rest is gone, says so, and comes back."""
