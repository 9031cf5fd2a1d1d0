"""Answers over HTTP: predictions of champions; published indexes searched, asked and changed."""
