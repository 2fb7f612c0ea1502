"""What the tests here share."""
