"""The door for drivers outside of the cluster: one gRPC stream each, and behind it one process each that owns what they make.

`server`, `service` and `sessions` are the gateway itself: it lets drivers in, starts their session processes and passes messages
on without looking into them. `owner` is the session process. Neither unpickles, and import-linter holds both to that. What is not
here: the driver's side (`client.remote`), the wire (`gateway.proto`), the numbering of messages (`transport.message_log`).
"""
