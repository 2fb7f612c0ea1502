"""The table of actors, by noun: `table.py` takes what happens to them, `rows.py` keeps what they are.

`placing.py` has those that wait for a place, `lives.py` begins and ends incarnations, `reunion.py` agrees with nodes and
owners after a restart of control or a lost connection. `rosters.py` are the indexes, `deaths.py` the texts, `timers.py` what
is due when.

What is not here: which node it shall be (`placement.py`, pure and for everything that is placed), and code (`functions.py`).
"""
