"""One raylet per node: lends workers out, keeps the node's object store, watches its processes and its memory.

- `scheduler.py` decides who gets a worker (pure): `events.py` is what it hears and says, `scheduling/` what it is made of.
- `workers/` starts, watches and ends processes; `memory.py` decides which of them must go when memory runs out.
- `objects/` is the object store: allocator, table, arena.
- `logs.py` forwards what workers print; `control_client.py` speaks to control, `orders.py` carries its orders out.
- `server.py` wires them to the channel and to gRPC.

What is not here: the cluster's memory (`control`), the code that runs tasks (`worker`, `client`), the wire (`transport`).
Nothing here unpickles: what travels between owners and workers is bytes.
"""
