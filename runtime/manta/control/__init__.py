"""The cluster's memory: nodes, jobs, actors, key-value, functions. A process of its own: `python -m manta.control`.

`state.py` decides (events in, commands out, no I/O, no clock) over one table per file (`nodes`, `jobs`, `actors/`, `kv`,
`functions`); `services/` is the wire face, `runner.py` performs commands, `storage/` keeps what must survive, `server.py` wires
them up.

What is not here: tasks and objects (their owners know them), leases and workers (`raylet`), people's pages (`dashboard`).
Nothing in this package unpickles.
"""
