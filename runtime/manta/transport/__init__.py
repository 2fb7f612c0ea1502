"""What goes between processes: the channel's frames, gRPC, who is let in, errors and values as messages.

`channel*` is the framed socket protocol, `grpc` everything about the other wire, `status` the table between errors and gRPC
statuses, `convert` the one between messages and `core`'s values, `auth` the token, `first_word` what a server tells who started
it. What is said over them is in `proto/manta/rpc/v1`. Not here: any decision, and any server.

This package imports nothing by itself: drivers and workers load the channel and never gRPC.
"""
