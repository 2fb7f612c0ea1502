"""Libraries over the API, on a real cluster."""
