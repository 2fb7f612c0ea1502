"""Speaking with a Kubernetes API server: reading by watch, writing safely, one leader.

Nothing here knows what a cluster of Manta is.

Objects are plain JSON (`dict`); what is in them is checked by whoever reads them.

- `errors`: what may come back instead of an answer.
- `resources`: kinds of objects and their paths.
- `requests`: what a request does, in the words of roles.
- `transport`: one request, or one watch. The only module that uses the client `kubernetes`: for configuration, authentication
  and connections.
- `watching` decides, `reflector` performs: an exact copy of a kind's objects, in a `store`, less what `trimming` leaves
  out; `caches` has several kinds. `expectations` decides when a copy is too old to decide upon.
- `keys` decides, `queue` performs: which object is looked after next, by whom.
- `ownership` decides, `writer` performs: writes that are safe to repeat, and that nobody makes who does not lead. `bulk` makes
  many of them, and `recorder` tells people about them.
- `tenure` decides, `lease` performs: who leads.

What is missing on purpose: the client's own informers (they neither use bookmarks nor time limits of reads) and its leader
election (it leads on without a lease when a connection is cut).
"""
