"""A MantaJob from the object to a driver on its cluster's head, and back to status.

- `submission`: what a try is called on the head, and what is submitted.
- `seen`: everything that is known about one job at one moment.
- `tries`: how many tries there were and what became of them: status and the head's word in, the new count out.
- `plan` decides, from all that; `actions` is what comes out of it; `leaving` is its part about objects that are deleted.
- `status` writes it down, with conditions; `times` is RFC 3339.
- `gather` reads, `apply` performs, `reconciler` ties them together.

Not here: how one speaks with a head (`heads`) or with the API server (`kube`).

Every try has a number, and its submission id is made of the MantaJob's UID and that number: whoever submits it again, be it after
a crash or as a second leader, finds it there. The status counts only tries of which a head has said that it has them.
"""
