"""The session of a driver outside of the cluster: everything goes through the gateway, over one stream.

`session` implements the port, `line` is the connection (one gRPC call over TLS, `transport.http2`), `outbox` gathers and numbers
what is said, `inbox` takes what is answered. What is the same as on a node is taken from there: values, counts, handles, streams.
Nothing here needs what only Linux has, and nothing listens.
"""
