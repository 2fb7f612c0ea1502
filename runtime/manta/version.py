"""The version of the distribution, in the one place that packaging and the runtime both read."""

__version__ = "0.1.0.dev0"
