"""Requests are counted under the words of roles and audit logs."""

from __future__ import annotations

import pytest

from manta_operator.kube.requests import request_of
from manta_operator.kube.resources import EVENTS, LEASES, NODES, PODS, Key


@pytest.mark.parametrize(
    ("method", "path", "verb", "resource"),
    [
        ("GET", PODS.path(), "list", "pods"),
        ("GET", PODS.path("n"), "list", "pods"),
        ("GET", PODS.path("n", "p"), "get", "pods"),
        ("POST", PODS.path("n"), "create", "pods"),
        ("PATCH", PODS.path_of(Key("n", "p"), "status"), "patch", "pods/status"),
        ("DELETE", PODS.path("n", "p"), "delete", "pods"),
        ("PUT", LEASES.path("n", "l"), "update", "leases"),
        ("POST", EVENTS.path("n"), "create", "events"),
        ("GET", NODES.path("", "n1"), "get", "nodes"),
        ("GET", "/api/v1/namespaces/n", "get", "namespaces"),
        ("GET", "/api/v1/namespaces", "list", "namespaces"),
        ("GET", "/version", "get", "other"),
    ],
)
def test_a_path_is_a_verb_and_a_resource(method, path, verb, resource):
    """Names and namespaces are not in them: there are few of these."""
    assert request_of(method, path) == (verb, resource)


def test_a_watch_is_not_a_list():
    """Though its path is the same."""
    assert request_of("GET", PODS.path(), watch=True) == ("watch", "pods")
