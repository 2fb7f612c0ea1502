"""A cluster on a virtual clock: the real decisions of control, raylets, workers and owners on connections that break.

- `virtual`: time, machines that crash and pause, and the kernel's semaphores.
- `wires`: connections that delay, keep their order, and lose what is under way when they break.
- `control`, `raylet`, `worker`, `owner`: one process each: the real cores, and in the fewest lines the shell around them.
- `shipping`: objects between raylets, whose bytes take time.
- `world`: all of them together, the faults, and what has to hold in the end.

Real are control's state, orders, RPC methods, rows as bytes and news of the cluster; the raylet's scheduler, runner, actors,
orders, calls to control, semaphores, object table and debts to other nodes; the owner's submitter, leases here and elsewhere,
and reference counts; the worker's inbox; pulls, chains and moves of objects between nodes. Not here: gRPC, sockets, processes.
Calls of actors, borrowers and the gateway's sessions have worlds of their own beside this one.
"""
