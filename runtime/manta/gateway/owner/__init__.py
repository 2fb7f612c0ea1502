"""The session process: a driver of the cluster in place of one outside. It owns what that one makes, and never looks into values.

`session` is the driver, `actions` does what the outside asks for, `speaker` tells it what became of it, `transfers` moves large
values, `streams` passes the items of generators on.
"""
