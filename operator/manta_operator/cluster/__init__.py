"""A MantaCluster brought to its spec: gather, plan, apply.

- `seen`: everything that is known about one cluster at one moment; `refusals`: what the API server did not let us do.
- `plan` decides, from that alone, and `actions` is what comes out of it. Its parts: `pods` says which pods count, `parts` what
  new ones are made of, `workers` and `head` who comes and goes, `slots` under which numbers; `children` is everything else, and
  `differs` whether an object has to be written at all. `decided` holds all of it for the status.
- `status` says how the cluster is, with `conditions` and `totals`; `causes` says why a pod is not ready; `telling` makes Events
  of what changed.
- `reading` reads Kubernetes' JSON.

Not here: what the objects look like (`builders`), what is in the Secrets (`credentials`), how one speaks with the API server
(`kube`) or with a cluster's control (`control`).
"""
