"""What a process of ours sets up for itself before its work."""
