"""What the scheduler is made of; pure. `scheduler.py`, one folder up, is its face: events in, commands out.

- `records.py`: workers, pools, leases, demands and shapes as plain values; `ledger.py`: the node's resources.
- `pools.py`: worker processes, from the order to start one until it is dead; `blame.py`: when starts are slowed down.
- `demands.py`: who wants what; `leases.py`: who has what, actors included.
- `placing.py`: who is served next; `fairness.py`: who is asked to give something back for others.
- `news.py`: who is told what; `texts.py`: in which words.
- `alarm.py`: when time alone changes something; `limits.py`: what a node does in moderation; `audit.py`: the invariants.

What is not here: performing a command (`runner.py`), processes (`workers/`), the store (`objects/`).
"""
