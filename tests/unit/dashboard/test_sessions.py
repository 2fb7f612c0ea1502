"""Browsers that have signed in."""

from __future__ import annotations

import itertools

import pytest

from manta.core.errors import AuthenticationError
from manta.dashboard import sessions
from manta.transport import tickets
from manta.transport.tokens import Token, TokenRole, role_of

TOKEN = "a" * 64


class World:
    """A clock and a file of tokens."""

    def __init__(self):
        self.now = 1000.0
        self.tokens = [Token(TokenRole.VIEWER, TOKEN)]
        count = itertools.count()
        self.sessions = sessions.Sessions(
            lambda shown: role_of(self.tokens, shown, self.now),
            lambda: self.tokens,
            lambda: self.now,
            lambda: f"s{next(count)}",
        )

    def ticket(self, at=0.0, nonce=bytes(16)):
        return tickets.make(TOKEN, self.now + at, nonce)


@pytest.fixture
def world():
    return World()


def test_a_session_leads_back_to_its_token_until_it_is_over(world):
    session = world.sessions.sign_in(TOKEN)
    assert world.sessions.token_of(session) == TOKEN
    world.now += sessions.LIFETIME_S
    assert world.sessions.token_of(session) is None
    assert len(world.sessions) == 0


def test_a_wrong_token_begins_none(world):
    with pytest.raises(AuthenticationError, match="not this cluster's"):
        world.sessions.sign_in("b" * 64)
    assert len(world.sessions) == 0


def test_signing_out_ends_one_session_and_no_other(world):
    mine, other = world.sessions.sign_in(TOKEN), world.sessions.sign_in(TOKEN)
    assert world.sessions.sign_out(mine)
    assert not world.sessions.sign_out(mine)
    assert world.sessions.token_of(mine) is None
    assert world.sessions.token_of(other) == TOKEN


@pytest.mark.parametrize("shown", ["", "s1", "s0 ", "é", "\udcff"])
def test_an_id_that_was_not_given_is_none(world, shown):
    world.sessions.sign_in(TOKEN)
    assert world.sessions.token_of(shown) is None


def test_the_oldest_goes_when_there_are_too_many(world):
    first = world.sessions.sign_in(TOKEN)
    for _ in range(sessions.MOST):
        last = world.sessions.sign_in(TOKEN)
    assert len(world.sessions) == sessions.MOST
    assert world.sessions.token_of(first) is None
    assert world.sessions.token_of(last) == TOKEN


def test_a_ticket_signs_in_once(world):
    session = world.sessions.redeem(world.ticket())
    assert world.sessions.token_of(session) == TOKEN
    with pytest.raises(AuthenticationError, match="used already"):
        world.sessions.redeem(world.ticket())


def test_a_ticket_made_before_this_process_began_is_refused(world):
    with pytest.raises(AuthenticationError, match="too old"):
        world.sessions.redeem(world.ticket(at=-1))


def test_used_tickets_are_remembered_as_long_as_they_would_be_good(world, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_USED", 2)
    for number in range(2):
        world.sessions.redeem(world.ticket(nonce=bytes([number]) * 16))
    with pytest.raises(AuthenticationError, match="too many"):
        world.sessions.redeem(world.ticket(nonce=b"\7" * 16))
    world.now += tickets.LIFETIME_S + 1
    world.sessions.redeem(world.ticket(nonce=b"\7" * 16))
