"""A contract's expectations, checked before Great Expectations is asked: for validate and for check."""
