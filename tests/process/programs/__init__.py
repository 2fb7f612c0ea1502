"""The public reference programs, rebuilt cell by cell and run as real drivers."""
