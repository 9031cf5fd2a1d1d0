"""Runs that start by themselves, and slots that were missed."""
