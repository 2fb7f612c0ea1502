"""From options to what travels: templates, scheduling keys, environments."""

from __future__ import annotations

import json

from manta.core.bundles import is_cpu
from manta.core.environment import PY_MODULES, WORKING_DIR
from manta.core.strategy import ANYWHERE
from manta.rpc.v1 import channel_pb2 as pb
from manta.serde import serialize, to_bytes
from manta.transport.convert import resources_to_proto, strategy_to_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.session import Session
    from manta.client.templates import Template
    from manta.core.options import TaskOptions
    from manta.serde import FunctionBlob


def environment_bytes(session: Session, env_vars: tuple[tuple[str, str], ...]) -> bytes:
    """A worker environment: what this process's own adds to the job's, and these variables on top."""
    merged: dict[str, str] = {**session.environment, **dict(env_vars)}
    if not merged:
        return b""
    if WORKING_DIR in merged or PY_MODULES in merged:
        from manta.api.uploads import uploaded

        merged = uploaded(session, merged)
    return json.dumps({"env_vars": merged}, sort_keys=True).encode()


def task_template(session: Session, blob: FunctionBlob, name: str, options: TaskOptions, retries: int) -> Template:
    """The template of a function with these options in this session."""
    environment = environment_bytes(session, options.env_vars)
    needs = dict(options.resources.amounts())
    demand = pb.LeaseDemand(resources=resources_to_proto(needs), environment=environment, name=name)
    identity = demand.resources.SerializeToString(deterministic=True) + environment
    if options.strategy != ANYWHERE:
        demand.strategy.CopyFrom(strategy_to_proto(options.strategy))
        identity += b"\0" + demand.strategy.SerializeToString(deterministic=True)
    if options.max_calls:
        identity += blob.digest
    definition = pb.DefineTemplate(
        function_hash=blob.digest,
        name=name,
        num_returns=options.num_returns,
        retry_any=options.retry_exceptions and not options.retry_on,
        flush_first=retries == 0,
        backpressure=max(0, options.backpressure),
        max_calls=options.max_calls,
        cpus=next((amount for name, amount in needs.items() if is_cpu(name)), 0),
        captures=options.captures,
        own_place=options.own_place,
    )
    if options.retry_on:
        definition.retry_exceptions = to_bytes(serialize(options.retry_on))
    return session.task_template(identity, demand, definition, max_retries=retries, function_blob=blob.blob)
