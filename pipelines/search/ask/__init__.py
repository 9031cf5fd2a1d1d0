"""A question and its answer: vectors, filters, order, citations, refusal."""
