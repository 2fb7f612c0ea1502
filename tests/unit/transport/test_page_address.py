"""What a dashboard leaves with control, and what is believed of what is found there."""

from __future__ import annotations

import json

import pytest

from manta.transport.page_address import decode, encode


def test_an_address_comes_back_as_a_url():
    assert decode(encode("10.0.0.1:8265", secure=True)) == "https://10.0.0.1:8265"
    assert decode(encode("[::1]:8265", secure=False)) == "http://[::1]:8265"


@pytest.mark.parametrize(
    "value",
    [
        b"", b"[]", b"3", b"null", b"{", b"\xff", b'{"address": "a"}', b"[" * 100_000,
        json.dumps({"address": "a", "scheme": "javascript"}).encode(),
        *(
            json.dumps({"address": address, "scheme": "http"}).encode()
            for address in (3, None, "a/b", "a@b", 'a"b', "a<b", "a\nb", "a\x1bb", "a" * 1000, "a?b", "a b")
        ),
    ],
)  # fmt: skip
def test_what_is_none_is_empty(value):
    assert decode(value) == ""
