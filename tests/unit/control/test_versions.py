"""A node whose processes and the cluster's would not understand each other is not let in, and told both versions."""

from __future__ import annotations

import sys

import pytest

from manta.control.services.nodes import check_versions
from manta.core.errors import VersionMismatchError
from manta.rpc.v1 import control_pb2 as pb
from manta.transport.channel import PROTOCOL

OURS = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_the_same_versions_are_let_in():
    check_versions(pb.RegisterNodeRequest(protocol=PROTOCOL, python=f"{OURS}.99", version="0.1"))
    check_versions(pb.RegisterNodeRequest())


def test_another_protocol_is_refused_with_both_numbers():
    with pytest.raises(
        VersionMismatchError, match=rf"speaks protocol 999 \(manta 9\.9\), the cluster speaks {PROTOCOL} "
    ):
        check_versions(pb.RegisterNodeRequest(protocol=999, version="9.9"))


def test_another_minor_version_of_python_is_refused():
    with pytest.raises(VersionMismatchError, match=rf"runs Python 2\.7\.1, the cluster runs {OURS}: "):
        check_versions(pb.RegisterNodeRequest(protocol=PROTOCOL, python="2.7.1"))
