"""Tokens with roles, and the file they are in."""

from __future__ import annotations

import os

import pytest

from manta.core.errors import AuthenticationError
from manta.transport.auth import write_private
from manta.transport.tokens import Token, TokenFile, TokenRole, read_tokens, role_of

A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_a_file_has_roles_times_and_comments():
    text = f"# ours\nviewer {A}\nsubmitter {B} 2027-01-31T12:00:00+00:00  # until then\n\n{C}\n"

    assert read_tokens(text, "it") == [
        Token(TokenRole.VIEWER, A),
        Token(TokenRole.SUBMITTER, B, 1801396800.0),
        Token(TokenRole.ADMIN, C),
    ]


@pytest.mark.parametrize(
    "line",
    [f"root {A}", f"viewer {A[1:]}", f"viewer {A.upper()}", f"viewer {A} tomorrow", f"viewer {A} 2027-01-31T12:00:00"],
)
def test_a_line_that_is_none_is_refused_by_its_number_and_never_shown(line):
    with pytest.raises(AuthenticationError, match="it, line 2") as refused:
        read_tokens(f"\n{line}", "it")
    assert A[1:] not in str(refused.value).lower()


def test_a_token_is_good_for_its_role_until_it_expires():
    tokens = [Token(TokenRole.VIEWER, A), Token(TokenRole.SUBMITTER, B, 100.0)]

    assert role_of(tokens, A, 0.0) is TokenRole.VIEWER
    assert role_of(tokens, B, 99.0) is TokenRole.SUBMITTER
    with pytest.raises(AuthenticationError, match=r"has expired \(1970-01-01T00:01:40\+00:00\)"):
        role_of(tokens, B, 100.0)


@pytest.mark.parametrize("shown", ["", A[1:], A + "a", "\udcff", "ä" * 64])
def test_anything_else_is_refused(shown):
    with pytest.raises(AuthenticationError, match="not this cluster's"):
        role_of([Token(TokenRole.ADMIN, A)], shown, 0.0)


def test_a_file_that_changes_is_read_again(tmp_path):
    path, now = str(tmp_path / "tokens"), [0.0]
    write_private(path, f"submitter {A}\n".encode())
    tokens = TokenFile(path, lambda: now[0])
    assert tokens.role_of(A) is TokenRole.SUBMITTER

    write_private(path, f"submitter {B}\n".encode())
    now[0] = 2.0
    assert tokens.role_of(B) is TokenRole.SUBMITTER
    with pytest.raises(AuthenticationError):
        tokens.role_of(A)


def test_a_file_that_is_broken_later_changes_nothing(tmp_path):
    path, now = str(tmp_path / "tokens"), [0.0]
    write_private(path, f"submitter {A}\n".encode())
    tokens = TokenFile(path, lambda: now[0])

    write_private(path, b"submitter\n")
    now[0] = 2.0
    assert tokens.role_of(A) is TokenRole.SUBMITTER
    os.unlink(path)
    now[0] = 4.0
    assert tokens.role_of(A) is TokenRole.SUBMITTER


def test_a_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"submitter {A}\n")
    path.chmod(0o644)

    with pytest.raises(AuthenticationError, match="chmod 600"):
        TokenFile(str(path), lambda: 0.0)
