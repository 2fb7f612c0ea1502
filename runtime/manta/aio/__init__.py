"""An asyncio kit that knows nothing of Manta: who watches tasks, how long to wait, how to wait again.

What is not here: anything with a wire (`transport`), anything that decides (`control`, `raylet`).
"""
