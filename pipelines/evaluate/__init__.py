"""The stage evaluate: a model on the frozen test rows, beside baselines."""
