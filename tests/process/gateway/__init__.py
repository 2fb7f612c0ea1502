"""Drivers outside: refused, cut off, hostile, and on other systems than Linux."""
