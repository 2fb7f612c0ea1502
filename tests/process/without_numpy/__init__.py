"""Manta where NumPy is not installed."""
