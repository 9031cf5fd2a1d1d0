"""What a person types: the command `headrace`."""

from flows.cli.command import main

__all__ = ["main"]
