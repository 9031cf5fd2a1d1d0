"""Sounds: how they go into a network, and the networks that hear them."""
