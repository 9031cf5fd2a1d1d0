"""The stage preprocess: validated/ -> prepared/, split and encoded."""
