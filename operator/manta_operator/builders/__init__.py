"""A parsed MantaCluster to manifests. Pure: the same cluster gives the same bytes, today and after an upgrade of the operator.

- `labels`: what objects of a cluster are called and labelled with, and by what they are found.
- `build`: what a manifest depends on besides its cluster.
- `revision`: when a pod is of another spec than the one that is wanted.
- `pods`: the head's pod and a worker's, made of `containers` (with `variables` and `sizes`) and `volumes`; over them lies the
  user's template, by the rules of `overlay`, which leave to the operator what is `owned`.
- `services`, `policies`, `claims`, `accounts`: the other objects, a file for each kind; `children`: all of them.

Not here: what is in the Secrets (`credentials`), which pods there should be (`cluster`).
"""
