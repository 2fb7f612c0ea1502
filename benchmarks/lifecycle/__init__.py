"""Tiny programs that import a system, start it, run one task and stop it, with nothing else imported.

Called as `python start_X.py <module> <cpus> <monotonic time of the exec> <fd for the answer>`; the answer is one line of
JSON: import, init, first_task, shutdown in seconds. `import` counts from the exec, so it holds the interpreter's own start.
"""
