"""What a training would need, asked of a process of its own before anything is trained."""
