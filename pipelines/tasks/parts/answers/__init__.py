"""What tasks share by what comes out: truth, metrics, answers for people, plots, the trivial baseline."""
