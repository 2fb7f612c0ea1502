"""Statuses by number are gRPC's."""

from __future__ import annotations

import grpc

from manta.transport import statuses


def test_names_are_grpcs():
    assert [(status.value[0], status.name) for status in grpc.StatusCode] == list(enumerate(statuses.NAMES))
