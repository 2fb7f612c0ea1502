"""Rows as the store's bytes and back. Protobuf, so that a later version reads what an earlier one wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from manta.control import convert
from manta.control.commands import Table
from manta.control.errors import StoreCorruptError
from manta.control.groups.convert import stored_group, to_group
from manta.control.requests import Answered
from manta.control.state import CLUSTER_ID, Stored
from manta.control.storage import Record
from manta.rpc.v1 import control_pb2


def _meta_bytes(row: int | bytes) -> bytes:
    return row if isinstance(row, bytes) else str(row).encode()


_ENCODE: dict[Table, Callable[[Any], bytes]] = {
    Table.META: _meta_bytes,
    Table.NODES: lambda row: convert.to_node(row).SerializeToString(),
    Table.JOBS: lambda row: control_pb2.StoredJob(
        info=convert.to_job(row), request_id=row.request_id
    ).SerializeToString(),
    Table.ACTORS: lambda row: convert.to_stored_actor(row).SerializeToString(),
    Table.KV: bytes,
    Table.FUNCTIONS: bytes,
    Table.GROUPS: lambda row: to_group(row).SerializeToString(),
    Table.REQUESTS: lambda row: control_pb2.StoredRequest(answer=row.answer, number=row.number).SerializeToString(),
}


def encode(table: Table, row: Any) -> bytes | None:
    """A row's bytes; None stays None: the row is forgotten."""
    return None if row is None else _ENCODE[table](row)


def decode(records: Iterable[Record], where: str) -> Stored:
    """All rows of a store.

    Args:
        records: What the store loaded, checksums verified.
        where: The store's name for messages.

    Raises:
        StoreCorruptError: A record cannot be read; the message names it.
    """
    stored = Stored()
    for table, key, value in records:
        try:
            match Table(table):
                case Table.META:
                    stored.meta[key] = value if key == CLUSTER_ID else int(value)
                case Table.NODES:
                    stored.nodes.append(convert.stored_node(control_pb2.NodeInfo.FromString(value)))
                case Table.JOBS:
                    stored.jobs.append(convert.stored_job(control_pb2.StoredJob.FromString(value)))
                case Table.ACTORS:
                    stored.actors.append(convert.stored_actor(control_pb2.StoredActor.FromString(value)))
                case Table.KV:
                    stored.kv.append((key, value))
                case Table.FUNCTIONS:
                    stored.functions.append((key, value))
                case Table.GROUPS:
                    stored.groups.append(stored_group(control_pb2.PlacementGroupInfo.FromString(value)))
                case Table.REQUESTS:
                    row = control_pb2.StoredRequest.FromString(value)
                    stored.requests.append((key, Answered(row.answer, row.number)))
        except Exception as error:  # protobuf's DecodeError has no public base but ValueError's cousins
            raise StoreCorruptError(where, f"record {key.hex()} of table {table}", str(error)) from error
    return stored
