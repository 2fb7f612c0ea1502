"""The version of the operator's distribution; a test keeps it equal to the runtime's."""

__version__ = "0.1.0.dev0"
