"""Has a Kubernetes with the project's images on it: kind's, or one that is there already.

cluster.py       a cluster for a block: which of the ways below, kind, images on its nodes, programs beside it
ways.py          which of the ways there are here, and what is missing for one
engine.py        a Docker daemon in namespaces of its own, `inside.py` its first process
images.py        the project's images, from the Dockerfile
node_image.py    kind's node image where no registry has one, with `archive.py`, `addons.py`, `debian.py`
programs.py      Go programs, `node/` their sources
kept.py          the cache of all that takes long to make
"""
