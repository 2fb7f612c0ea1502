"""Every wire message, as generated code. The contracts are the comments in `proto/manta/rpc/`.

Nothing is written by hand below this package. Turning messages into values of `manta.core` is the business of
`manta.transport.convert`, so that decisions never see a `_pb2` type.
"""
