"""Kubernetes' control plane as plain processes: etcd, API server, controllers and scheduler, real and of one version.

- `build`: one binary of them all, made from Go modules once and kept in a cache outside of the checkout.
- `inside`: the first process of the namespaces in which they run; all ends with it.
- `control_plane`: starts one and stops it, from a test or by hand.
- `certificates`: who is who there.
- `client`: a small synchronous client for tests, independent of the operator's own.
- `proxy`: stands between the two, and does what networks do on bad days.
- `audit`: what the API server has been asked.
- `operator`: the operator as a process: started, paused, killed.
- `kubelet` and `control` stand in for nodes, and for what would run in clusters' heads; `dashboard` for what takes jobs there.

Without them there are no nodes: pods are accepted and stay Pending.
"""
