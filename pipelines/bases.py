"""Where a base model's weights lie on this machine, and which they are."""
