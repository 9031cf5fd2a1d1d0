"""The tables in which stages meet: keys, splits, access labels, predictions, intervals; and the Task Protocol."""
