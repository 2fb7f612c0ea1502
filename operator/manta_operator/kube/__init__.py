"""Speaking with an API server."""
