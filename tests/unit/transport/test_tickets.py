"""Tickets: signed, short-lived, and worth no more than the token they were made with."""

from __future__ import annotations

import pytest

from manta.core.errors import AuthenticationError
from manta.transport import tickets
from manta.transport.tokens import Token, TokenRole

MINE, OTHER = "a" * 64, "b" * 64
TOKENS = [Token(TokenRole.ADMIN, OTHER), Token(TokenRole.VIEWER, MINE)]
NOW = 1_000_000.0


def made(now=NOW, token=MINE, nonce=bytes(16)):
    return tickets.make(token, now, nonce)


def test_a_ticket_names_its_token_and_its_number():
    assert (TOKENS[1], "01" * 16) == tickets.token_of(made(nonce=b"\1" * 16), TOKENS, NOW + 1, 0)


def test_the_token_is_not_in_it():
    assert MINE not in made()


def test_a_ticket_is_good_for_ten_minutes():
    tickets.token_of(made(), TOKENS, NOW + 599, 0)
    with pytest.raises(AuthenticationError, match="too old; `manta dashboard`"):
        tickets.token_of(made(), TOKENS, NOW + 601, 0)


def test_a_ticket_from_before_is_refused():
    """Who checks has forgotten which of those were used."""
    with pytest.raises(AuthenticationError, match="too old"):
        tickets.token_of(made(), TOKENS, NOW + 2, NOW + 1)


def test_a_ticket_of_a_token_that_is_gone_is_refused():
    with pytest.raises(AuthenticationError, match="not this cluster's"):
        tickets.token_of(made(), TOKENS[:1], NOW, 0)


def test_a_changed_ticket_is_refused():
    """Each letter of it counts."""
    whole = made()
    for at, letter in enumerate(whole):
        for other in "0f.":
            if other != letter:
                with pytest.raises(AuthenticationError):
                    tickets.token_of(whole[:at] + other + whole[at + 1 :], TOKENS, NOW, 0)


@pytest.mark.parametrize(
    "shown", ["", ".", "..", "a.b.c", "é" * 50, "\udcff..", "1." + "0" * 32 + ".", "f" * 10_000, "١.٢.٣"]
)
def test_garbage_is_refused(shown):
    with pytest.raises(AuthenticationError):
        tickets.token_of(shown, TOKENS, NOW, 0)
