"""What users call: `init`, `remote`, `get`, `put`, `wait`, `cancel`, `kill`, actors, contexts.

Here arguments are checked and worded for people; the work is done by the process's session (`manta.client`). Nothing here
imports protobuf, cloudpickle, asyncio or grpc before `init` is called.
"""
