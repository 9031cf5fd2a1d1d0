"""Forecasters of time series: networks, how they are built, fitted, kept and asked."""
