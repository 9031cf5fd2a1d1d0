"""A model's files on this disk: checked before they are opened, kept once, merged."""
