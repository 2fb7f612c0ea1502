"""Function blobs: named by their content, refused when they are huge, with the name of what makes them so."""

import hashlib
import logging
import threading

import pytest

from manta import serde
from manta.core.errors import SerializationError


def test_a_blob_is_named_by_its_content():
    blob = serde.dump_function(lambda x: x + 1)

    assert blob.digest == hashlib.blake2b(blob.blob, digest_size=20).digest() == serde.digest_of(blob.blob)
    assert serde.load_function(blob.blob)(1) == 2
    assert serde.load_function(memoryview(blob.blob))(1) == 2
    assert (list(blob.refs), list(blob.handles)) == ([], [])


def test_what_a_function_captured_is_its_own_in_the_worker():
    data = bytearray(b"a" * 200_000)

    def change():
        data[0] += 1
        return data[:1]

    assert serde.load_function(serde.dump_function(change).blob)() == b"b"
    assert data[:1] == b"a"


def test_a_large_function_is_warned_about_by_the_name_of_what_is_large(caplog):
    table = bytes(11_000_000)
    small = b"small"

    def look_up(i):
        return table[i], small

    with caplog.at_level(logging.WARNING):
        serde.dump_function(look_up)

    assert "look_up" in caplog.text
    assert "very large (10.5 MiB)" in caplog.text
    assert "captured variable 'table' (10.5 MiB)" in caplog.text
    assert "'small'" not in caplog.text


def test_a_huge_function_is_refused_before_it_is_built(monkeypatch):
    monkeypatch.setenv("FUNCTION_SIZE_ERROR_THRESHOLD", "2000000")
    table = bytes(3_000_000)

    with pytest.raises(ValueError, match=r"too large \(> FUNCTION_SIZE_ERROR_THRESHOLD=1\.9 MiB\).*variable 'table'"):
        serde.dump_function(lambda: table)


def test_a_threshold_that_is_no_number_says_so(monkeypatch):
    monkeypatch.setenv("FUNCTION_SIZE_ERROR_THRESHOLD", "huge")
    with pytest.raises(ValueError, match=r"FUNCTION_SIZE_ERROR_THRESHOLD='huge'.*number of bytes"):
        serde.dump_function(len)


def test_a_function_that_captured_a_lock_names_the_variable():
    guard = threading.Lock()

    def locked():
        with guard:
            return 1

    with pytest.raises(SerializationError) as caught:
        serde.dump_function(locked)
    error = caught.value
    assert error.what.startswith("function 'test_a_function_that_captured")
    assert error.path == ("captured variable 'guard'",)
    assert error.reason == "cannot pickle '_thread.lock' object"
    assert error.culprit == "a _thread.lock"
