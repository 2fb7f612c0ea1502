"""Inside every process that runs user code: a driver's and a worker's share of the engine.

`direct` is a session of a process that lives on a node. What it decides with: `ownership` (who refers to what), `lease`
(which tasks have surely not begun). What it does with that: `submit`, `actors`, `store`, `links`, `pump`. What user code
holds: `refs`, `handles`, `generators`, `futures`. What does not live here: what users call (`api`), running user code
(`worker`), frames (`transport`), bytes of values (`serde`), mappings (`shm`).
"""
