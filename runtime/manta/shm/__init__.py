"""What worker, driver and raylet share about a node's memory.

Here: the arena's layout (`layout`), mapping it into a process and handing out views that pin (`client`), filling a
borrowed range without asking for each object (`block`), fast copies that let other threads run (`copy`), and the
errors of all that (`errors`).

Not here: who may use which range, which is the raylet's decision (`manta.raylet.objects`), and the messages about it
(`manta.transport`).

Nothing is imported by this package itself: `client` and `copy` load ctypes, which a process should pay when it joins
a node and not at `import manta`.
"""
