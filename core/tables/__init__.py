"""The tables in which stages meet: keys, access labels, predictions, intervals; and the Task Protocol."""
