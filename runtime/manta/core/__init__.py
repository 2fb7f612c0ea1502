"""Plain values that every part of Manta shares: ids, errors, resources, options, settings, clocks.

Nothing here does I/O, knows a process or a wire, or imports more than the standard library. All of it is on the path of
`import manta`, so none of it imports `asyncio`, `dataclasses`, `enum`, `inspect`, `re` or `typing` when it is loaded:
annotations stay strings and the types they name are imported for the type checker alone.

Turning these values into messages and back is the business of `manta.transport.convert`.
"""
