"""A MantaCluster brought to its spec: gather, plan, apply.

- `seen`: everything that is known about one cluster at one moment; `refusals`: what the API server did not let us do.
- `plan` decides, from that alone, and `actions` is what comes out of it. `slots`, `workers`, `head` and `children` are its parts.
- `causes` says why a pod is not ready; `status` says how the cluster is, and which events people are told.
- `gather` reads, `apply` writes, `reconciler` ties them together.

Not here: what the objects look like (`builders`), what is in the Secrets (`credentials`), how one speaks with the API server
(`kube`) or with a cluster's control (`control`).
"""
