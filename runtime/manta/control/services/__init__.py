"""The wire face of control, a class per noun of control.proto: decode, decide, encode.

A method is named as its RPC, decides at once and returns the response; that nobody sees it before the commit that covers it is
`rpcs.py`'s business, once for all. `watch.py` streams. What each RPC promises is stated once: in control.proto.

What is not here: decisions (`state.py` and its tables), effects (`runner.py`), messages as nouns (`convert.py`).
"""
