"""A real raylet with a real control, a plain socket as its driver, and workers that do what a test tells them."""
