"""What a person reads on a terminal, and what was given on the command line."""
