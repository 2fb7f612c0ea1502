"""The process that runs user code: tasks one after the other, or one actor.

`python -m manta.worker` is the factory (`factory`) that workers are forked from. A worker's main loop is `executor`; an actor's
calls are served by `actors` (serially, on threads) and `coroutines` (on an event loop); `streams` are generators; `outbox` holds
results until they go. Nothing here imports grpc, and asyncio only for async actors.
"""
