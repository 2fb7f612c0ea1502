"""The Kubernetes operator: level-triggered reconcilers for Manta's custom resources, and the autoscaler.

It knows a cluster only by its wire: it may import `manta.core`, `manta.rpc` and `manta.transport`, nothing else of the
runtime, and the runtime never imports it. Nothing but this docstring is here yet.
"""
