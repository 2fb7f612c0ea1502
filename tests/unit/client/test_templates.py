"""Templates stay as few as they differ, and actors nobody refers to are forgotten: programs do both in endless loops."""

from __future__ import annotations

from types import SimpleNamespace

from manta.client import actor_client
from manta.client.actors import SWEEP, ActorClients
from manta.client.ownership import Ownership
from manta.client.submit import Submitter
from manta.client.templates import Templates
from manta.client.values import Failure, Values
from manta.rpc.v1 import channel_pb2 as pb


class Session(SimpleNamespace):
    """As much of a session as these two look at."""

    def __init__(self):
        super().__init__(values=Values(), ownership=Ownership(), templates=Templates(), sent=[])
        self.raylet_send = self.sent.append
        self.submitter = Submitter(self)
        self.actors = ActorClients(self)

    def watched(self):
        added = [actor for message in self.sent for actor in message.add]
        return set(added) - {actor for message in self.sent for actor in message.remove}


def template(session, **definition):
    return session.templates.add(pb.DefineTemplate(**definition), None, max_retries=3)


def test_a_template_that_says_the_same_is_the_same():
    session = Session()

    first = template(session, name="f", num_returns=1)
    other = template(session, name="f", num_returns=2)

    assert template(session, name="f", num_returns=1) is first
    assert [first.number, other.number] == [0, 1]


def test_a_template_with_other_retries_is_another():
    session = Session()
    first = template(session, name="f")

    again = session.templates.add(pb.DefineTemplate(name="f"), None, max_retries=0)

    assert (again.number, again.max_retries, first.max_retries) == (1, 0, 3)


def known(session, number):
    client = session.actors.know(number.to_bytes(16, "big"), "A", counted=False, ordered=True)
    return client, lambda: actor_client.gone.append(client)


def test_actors_without_handles_are_forgotten_when_there_are_many():
    session = Session()
    _, drop_first = known(session, 0)

    for number in range(1, 4 * SWEEP):
        _, drop = known(session, number)
        drop()

    assert (0).to_bytes(16, "big") in session.actors.by_id  # its handle lives
    assert len(session.actors.by_id) <= 2 * SWEEP + 1
    assert session.watched() == set(session.actors.by_id)
    drop_first()
    actor_client.gone.clear()


def test_a_dead_actor_without_handles_is_forgotten_first():
    session = Session()
    client, drop = known(session, 0)
    client.cause = Failure(pb.TaskFailure())
    drop()

    for number in range(1, SWEEP + 1):
        known(session, number)[1]()
    known(session, SWEEP + 1)

    assert (0).to_bytes(16, "big") not in session.actors.by_id
    actor_client.gone.clear()


def test_one_that_is_busy_or_owned_stays():
    session = Session()
    for number, name in enumerate(("busy", "owned")):
        client, drop = known(session, number)
        setattr(client, name, True)
        drop()

    for number in range(2, 4 * SWEEP):
        known(session, number)[1]()

    assert {number.to_bytes(16, "big") for number in (0, 1)} <= set(session.actors.by_id)
    actor_client.gone.clear()


def test_clients_of_one_actor_that_was_forgotten_meanwhile_have_numbers_of_their_own():
    """The actor counts each caller's calls: a second client must not begin again with the first one's."""
    session = Session()
    before, _ = known(session, 0)
    session.actors._forget(before)

    after, _ = known(session, 0)

    assert before is not after
    assert before.sequence != after.sequence
    actor_client.gone.clear()
