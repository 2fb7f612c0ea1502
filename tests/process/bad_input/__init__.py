"""What a user's mistake is answered with: a typed error that names what was wrong and what would be right."""
