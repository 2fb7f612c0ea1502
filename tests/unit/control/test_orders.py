"""An order stays open until its node has answered it, whatever becomes of lines."""

from manta.control import events
from manta.control.commands import ForgetNode, KillOnNode, StartOnNode
from manta.control.events import Verdict
from manta.control.logs import EventLog
from manta.control.orders import Line, Orders
from manta.rpc.v1 import raylet_pb2
from tests.unit.control.worlds import World, node_id

NODE = node_id(1)
OTHER = node_id(2)


class Told:
    """Orders over a world with one node, and what a node would be told."""

    def __init__(self):
        self.world = World()
        self.world.register(NODE)
        self.orders = Orders(EventLog(None))
        self.decided: list[events.Event] = []
        self.orders.attach(self.world.state, self.decided.append)

    def kill(self, n, node=NODE):
        self.orders.tell(KillOnNode(node, b"%016d" % n, 1, False, "why"))

    def start(self):
        """An actor is placed; its start is an order."""
        job, owner = self.world.job(NODE)
        actor_id = self.world.create(job, owner)
        command = next(each for each in self.world.sent if isinstance(each, StartOnNode))
        self.orders.tell(command)
        return actor_id

    def line(self, node=NODE):
        line = Line(lambda: None)
        self.orders.opened(node, line)
        return line

    def given(self, line, node=NODE):
        """What goes out on a line now."""
        numbers, orders = list(line.orders), []
        line.orders.clear()
        for number in numbers:
            order = self.orders.encode(node, number)
            if order is not None:
                orders.append(order)
        return orders

    def open(self):
        return self.orders.statistics()["orders_open"]


def killed(orders):
    return [int(order.kill_actor.actor_id) for order in orders]


def test_what_was_not_answered_comes_first_on_the_next_line_and_in_order():
    told = Told()
    told.kill(1)
    first = told.line()
    told.kill(2)
    told.kill(3)
    given = told.given(first)
    assert killed(given) == [1, 2, 3]
    told.orders.answered(NODE, raylet_pb2.OrderAnswer(number=given[1].number))

    told.orders.closed(NODE, first)
    told.kill(4)

    assert killed(told.given(told.line())) == [1, 3, 4]


def test_an_answered_order_is_not_given_again_and_a_second_answer_means_nothing():
    told = Told()
    told.start()
    line = told.line()
    (order,) = told.given(line)
    answer = raylet_pb2.OrderAnswer(number=order.number)
    answer.start_actor.verdict = raylet_pb2.StartActorAnswer.VERDICT_ACCEPTED

    told.orders.answered(NODE, answer)
    told.orders.answered(NODE, answer)

    assert [event.verdict for event in told.decided] == [Verdict.ACCEPTED]
    assert told.given(told.line()) == []
    assert told.open() == 0


def test_a_start_that_a_node_cannot_even_read_is_refused_with_what_it_says():
    told = Told()
    told.start()
    (order,) = told.given(told.line())
    answer = raylet_pb2.OrderAnswer(number=order.number)
    answer.error.message = "what is this"

    told.orders.answered(NODE, answer)

    assert [(event.verdict, event.reason) for event in told.decided] == [(Verdict.REFUSED, "what is this")]


def test_a_start_that_nobody_wants_any_more_is_not_given():
    told = Told()
    actor_id = told.start()
    told.world.handle(events.KillActor(request_id=told.world.request_id(), actor_id=actor_id))

    assert told.given(told.line()) == []
    assert told.open() == 0


def test_a_dead_node_is_told_nothing_and_its_line_ends():
    told = Told()
    line = told.line()
    told.kill(1)

    told.orders.tell(ForgetNode(NODE))

    assert line.ended
    assert told.given(line) == []
    assert told.orders.statistics() == {"lines": 0, "orders_open": 0}


def test_the_newest_line_of_a_node_gets_the_orders_and_an_older_ones_end_means_nothing():
    told = Told()
    old, new = told.line(), told.line()

    told.orders.closed(NODE, old)
    told.kill(1)

    assert (killed(told.given(old)), killed(told.given(new))) == ([], [1])


def test_nodes_do_not_share_lines():
    told = Told()
    here, there = told.line(), told.line(OTHER)

    told.kill(1)
    told.kill(2, OTHER)

    assert (killed(told.given(here)), killed(told.given(there, OTHER))) == ([1], [2])
