"""What runs inside a container of a pod: PID 1 of control, gateway, dashboard and raylet, each in a container of its own.

`container` is one from its first word to its last. `settings` is what the operator's variables say, `places` where the volumes
are, `commands` the command line that follows, `mounted` the Secret and the private copies of it, `first` PID 1 itself, `ending`
when it passes a signal on, `session` the folder that the containers share, `jobs` the supervisors of submitted jobs. The servers
know nothing of Kubernetes. Not here: making pods, which is the operator's, and everything that asks an API server.

PID 1 stays as long as the container does, so it is light: neither asyncio nor gRPC is loaded.
"""
