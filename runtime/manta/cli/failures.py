"""What a command can fail with, beside our errors and the system's."""

from __future__ import annotations


class NoClusterError(Exception):
    """There is nothing to ask. The text says how there would be."""


class SilentError(Exception):
    """Somebody is there and does not answer."""
