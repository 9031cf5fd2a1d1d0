"""What a training will need, told before it: a few real steps on some of the rows, in a process of its own."""
