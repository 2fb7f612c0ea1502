"""Tests, by what they need: `unit` (nothing), `sim` (a virtual clock), `process` (real processes), `contracts` (the repository).

Names and docstrings state facts. Nothing sleeps: a test waits for the thing itself, up to its time limit.
"""
