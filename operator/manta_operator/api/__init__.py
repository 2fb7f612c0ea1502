"""The custom resources of Manta, typed once: `manta.compute/v1alpha1`, MantaCluster and MantaJob.

- `field`: what a field is beyond its Python type: description, bounds, rules; how it is named in JSON.
- `quantity`, `names`: Kubernetes' quantities, and what may be called what.
- `pods`: nouns that both resources have: resources, templates, conditions.
- `cluster` with `head` and `workers`, `cluster_status`; `job`: the resources themselves.
- `parse`: an object from the API server, which anybody may have written, to the types, or an error that names each mistake.
- `render`: the types to JSON.
- `crd`, `definitions`: the types to the definitions (CRDs) that a cluster's API server checks objects with.

Definitions are checked in below `charts/`; `python -m manta_operator.api` writes them anew, and a test fails when they are old.

Nothing here speaks with anybody, and nothing here decides what happens to a resource.
"""
