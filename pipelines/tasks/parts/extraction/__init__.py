"""What tasks share whose answer is a part of a text that a question asks for: windows, the module, metrics."""
