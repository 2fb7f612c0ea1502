"""Inside every process that runs user code: a driver's and a worker's share of the engine.

`session` is what all of it looks like from above: the port that `api` and handles use. `direct` is the session of a process that
lives on a node; its parts are one noun each:

- objects: `objects` (put, get, wait), `store` (large values), `values` (what is known of which), `failures`
- tasks: `submit` (from call to result), `leasing` (which worker gets what), `lease` (which tasks have surely not begun),
  `templates`, `arguments`
- actors: `actors` (as control tells of them), `actor_calls`, `actor_creation`, `actor_client`
- references: `ownership` (who refers to what), `counting` (does what that asks for), `borrowing` (between processes)
- wires: `pump` (who reads the sockets), `links`, `relay` (calls to control)

What user code holds: `refs`, `handles`, `generators`, `futures`. What does not live here: what users call (`api`), running user
code (`worker`), frames (`transport`), bytes of values (`serde`), mappings (`shm`).
"""
