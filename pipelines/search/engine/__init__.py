"""Releases of an index in Qdrant, embedded or on a server."""
