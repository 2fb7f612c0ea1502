"""What drivers of these tests run. Each prints one JSON value."""

from __future__ import annotations

#: Tasks, actors and large values on both nodes, and where they ran.
TOUR = """
import json, os
import manta

manta.init()
nodes = {node["NodeName"]: node["NodeID"] for node in manta.nodes() if node["Alive"]}

@manta.remote
def where(value):
    return manta.get_runtime_context().get_node_id(), len(value)

@manta.remote
def made(size):
    return bytes(size)

@manta.remote
class Counter:
    def __init__(self):
        self.count = 0
    def add(self):
        self.count += 1
        return self.count

big = manta.put(b"x" * (8 << 20))
near = manta.get(where.remote(big), timeout=30)
far = manta.get(where.options(resources={"far": 1}).remote(big), timeout=30)
back = manta.get(made.options(resources={"far": 1}).remote(5 << 20), timeout=30)
counters = [Counter.remote(), Counter.options(resources={"far": 1}).remote()]
counts = [manta.get([counter.add.remote() for _ in range(3)], timeout=30) for counter in counters]
print(json.dumps({"nodes": nodes, "near": near, "far": far, "back": len(back), "counts": counts}))
"""

#: A driver that holds something until it is ended: an actor on each node, a value.
HOLDING = """
import sys, time
import manta

manta.init()

@manta.remote
class Holder:
    def ping(self):
        return 1

holders = [Holder.remote(), Holder.options(resources={"far": 1}).remote()]
value = manta.put(bytes(4 << 20))
assert manta.get([holder.ping.remote() for holder in holders], timeout=30) == [1, 1]
print("holding", flush=True)
while True:
    try:
        print(manta.get(holders[0].ping.remote(), timeout=5), flush=True)
    except manta.exceptions.GetTimeoutError:
        pass
    time.sleep(0.05)
"""

#: A task on the worker that runs until a file is there.
UNTIL = """
import os, sys, time
import manta

manta.init()

@manta.remote(max_retries=0)
def until(path):
    while not os.path.exists(path):
        time.sleep(0.02)
    return manta.get_runtime_context().get_node_id()

running = until.options(resources={"far": 1}).remote(%r)
print("running", flush=True)
print(manta.get(running, timeout=50), flush=True)
"""
