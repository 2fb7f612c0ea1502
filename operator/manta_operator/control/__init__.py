"""Speaking with the control of each cluster: which nodes it has, and taking them out of service. Reads and drains, nothing else.

- `access`: where a cluster's control is and what lets the operator in. Pure.
- `nodes`: a cluster's nodes as plain values.
- `client`: the calls, each with a deadline.
- `links`: one tie for each cluster, kept by a task of its own, so that a slow or dead cluster holds up nobody.

Jobs are not here: `job` has its own calls over the same access.
"""
