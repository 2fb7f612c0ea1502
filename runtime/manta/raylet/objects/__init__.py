"""The node's object store: who may use which part of the arena, and the arena itself.

Pure, events in and commands out. `table` takes the events; behind it stand `sealed` (the objects that are there, with `owners`),
`gets` (readers that wait), `room` (ranges being written, blocks `lending`, who waits for room), `ahead` (deletions that overtook
their objects), `records`, `journal` (what happened) and `audit` (every invariant). `allocator` decides which range, when the
arena grows and what goes back; with `ranges` (what is free; on `ordered`, a sorted set) and `warmth` (which pages were touched).
`commands` are what they ask the shell to do.
The shell: `arena` (the memfd: reserve, warm, give back), `headroom` (how much memory the machine has left), `keeper`
(the thread that does these slow things in order).

Between nodes: `pulls` (with `pull_commands`) decides what is fetched from whom and how much at once, `chains` who is served from
here and who by others, `far` what raylets owe each other about freed objects and dead owners. `transfer` is the bytes, blocking,
in threads.

Not here: views, copies and a process's own mapping (`manta.shm`), and messages (`manta.transport`); the raylet's
server wires the three together, and `raylet.exchange` what is between nodes (with `transfers` and `neighbours`, its shells).

A node that is drained: `giving` decides where its objects go, `taking` what a node keeps of what it is offered.

Absent, with its place kept: spilling to disk (between eviction and waiting in `table`), and restoring.
"""
