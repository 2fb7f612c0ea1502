"""The way to a cluster on Kubernetes, for `k8s://NAMESPACE/NAME`: through the API server, with nothing but a kubeconfig.

- `address`: what such an address says
- `access`: how an API server is reached, and as whom
- `kubeconfig`, `entries`: to that from the files of a kubeconfig, or a pod's service account
- `identity`: what is shown to it: tokens, certificates, what an exec plugin prints
- `server`: questions to it; `refusals`: what it means when it does not answer them
- `resource`: the MantaCluster, its Secret, its head's pod: which facts mean what
- `carrying`: one connection inside one WebSocket of `pods/portforward`
- `forward`: the thread in which all of these run
- `cluster`: a MantaCluster that was found: its `remote.address.Gateway`, its dashboard's URL
- `opening`: from an address to that; what is used from outside

The API server only carries bytes: what a driver and a gateway say to each other is encrypted from end to end, and each side is
who its certificate and its token say.

Imported late, by those who were given such an address: these modules load asyncio, aiohttp and, for a kubeconfig, YAML. They
are the only ones of the runtime that know of Kubernetes, and they know three kinds of objects by their fields.
"""
