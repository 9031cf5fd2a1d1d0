"""Predictions that follow the accepted champion."""
