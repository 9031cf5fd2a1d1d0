"""What takes space, why it stays, and freeing it."""
