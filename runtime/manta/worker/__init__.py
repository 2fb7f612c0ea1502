"""The process that runs user code: tasks one after the other, or one actor.

`python -m manta.worker` is the factory (`factory`) that workers are forked from. In a worker everything meets in `executor`,
whose loop takes tasks from the `inbox`, calls them (`calls`, with their `arguments`), makes results of what they return
(`results`) or raise (`raised`), and gives those to the `delivery`, which gathers them per owner (`outbox`).

An actor is made, and served one call after the other, by `actors`, which takes calls in the order of their callers
(`call_order`); on `threads`, or on an event loop as `coroutines`, several at once. `streams` are generators, `cancels` says whom
an interrupt is for, `blocked` whether the CPU is lent out.

Of these `inbox`, `outbox`, `call_order`, `cancels`, `blocked` and the window of `streams` decide and do nothing else. Nothing
here imports grpc, and asyncio only for async actors.
"""
