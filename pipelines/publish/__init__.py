"""The stage publish: vectors -> a judged release in the engine."""
