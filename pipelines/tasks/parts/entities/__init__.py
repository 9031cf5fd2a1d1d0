"""What tasks share whose answer is labelled spans of a text: windows, tags, the module, the dictionary, metrics."""
