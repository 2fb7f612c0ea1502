"""Speaking with the heads of clusters about submitted jobs: over the HTTP routes of their dashboards.

- `endpoint`: where a head is, and what is shown to it; read from a cluster's pod and Secret.
- `jobs`: a submitted job as its head tells of it.
- `client`: one request, or the stream of events.
- `mirror` decides, `following` performs: a copy of what a head knows of this operator's jobs, kept by its events.

Not here: what follows from it for a MantaJob (`job`), and control's own gRPC service.
"""
