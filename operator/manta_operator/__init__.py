"""The Kubernetes operator: level-triggered reconcilers for Manta's custom resources.

- `api`: the custom resources, typed once; their definitions (CRDs) are generated from the types.
- `builders`: a cluster to manifests; `credentials`: what is in its Secrets, and when something of it is made anew. Both pure.
- `kube`: speaking with an API server: reading by watch, writing safely, one leader.
- `cluster`: a MantaCluster brought to its spec. `control` speaks with its head.
- `job`: a MantaJob, from the object to a driver on a head and back to its status. `heads` speaks with heads about jobs.
- `app` ties everything together; `controllers` says what a reconciler is to it. `metrics`, `health` and `permissions` are what an
  administrator sees of it.

What is not here yet: the autoscaler.

It knows a cluster only by its wire: it may import `manta.core`, `manta.aio`, `manta.rpc` and `manta.transport`, nothing else
of the runtime, and the runtime never imports it. It is a distribution of its own, `manta-operator`.
"""
