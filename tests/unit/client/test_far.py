"""Links between nodes: which of those that broke are dialled again, and when."""

from __future__ import annotations

import ssl

import pytest

from manta.client.far import GIVE_UP_S, LASTED_S, LONGEST_PAUSE_S, PAUSE_S, Far, is_final, pause_before
from manta.core.errors import AuthenticationError
from manta.transport.tcp import Answer, RefusedError


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (RefusedError(Answer.GONE), True),
        (RefusedError(Answer.OTHER_NODE), True),
        (RefusedError(Answer.VERSION), True),
        (RefusedError(Answer.BUSY), False),
        (ConnectionRefusedError(111, "nobody listens"), True),
        (ConnectionResetError(104, "reset"), False),
        (OSError(113, "no route to host"), False),
        (TimeoutError("not open in time"), False),
        (EOFError(), False),
        (ssl.SSLEOFError(8, "end in the middle"), False),
        (ssl.SSLCertVerificationError(1, "not ours"), True),
        (AuthenticationError("no certificate"), True),
        (None, False),
    ],
)
def test_only_what_says_that_the_process_is_gone_is_final(error, final):
    assert is_final(error) is final
    far = Far()
    far.broken = error
    assert (pause_before(far, 0.0) is None) is final


def test_a_connection_that_lasted_is_dialled_again_at_once():
    far = Far(tries=5, failing_since=0.0)
    far.opened_at, far.broken = 100.0, EOFError()
    assert pause_before(far, 100.0 + LASTED_S + 0.1) == 0.0


def test_one_that_does_not_last_waits_longer_each_time_and_is_given_up_in_the_end():
    pauses = []
    now, tries = 0.0, 0
    while True:
        far = Far(tries=tries, failing_since=0.0)
        far.broken = TimeoutError()
        pause = pause_before(far, now)
        if pause is None:
            break
        pauses.append(pause)
        now, tries = now + pause, tries + 1
    assert pauses[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert max(pauses) == LONGEST_PAUSE_S
    assert GIVE_UP_S < now <= GIVE_UP_S + LONGEST_PAUSE_S
