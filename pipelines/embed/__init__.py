"""The stage embed: passages -> vectors."""
