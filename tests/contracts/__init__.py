"""What the repository promises about itself: what an import costs, what is documented, which wires fit together."""
