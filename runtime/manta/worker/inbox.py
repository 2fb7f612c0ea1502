"""What was pushed to this worker and has not begun: one queue in the order of arrival, and what was taken back out of it.

Frames in, tasks out; no sockets and no tokens. Popping a task and taking its token happen together under the session's lock, in
the loop (`executor`), so what has not been popped has no token left once its owner took that back.

An owner on another node does not put the tokens itself: they come with the tasks, while take-backs go to the raylet, another way.
So a turn without a token does not say that this very task was taken back. It was, if nothing is on its way; else what comes
brings the token, as the last ones are those that were taken. Such tasks wait, in order, until one or the other is here.
"""

from __future__ import annotations

from collections import deque
from itertools import chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from manta.client.links import Link
    from manta.rpc.v1 import channel_pb2 as pb
    from manta.worker.calls import Queued


class Inbox:
    """Tasks of all links. The session's lock guards it.

    `queue` is public to the loops, which pop from it without a call: whatever is in it may begin. Tasks of a link whose other
    side does not read their results are set apart until it has.
    """

    __slots__ = ("_dropped", "held", "queue", "starved")

    def __init__(self) -> None:
        self.queue: deque[Queued] = deque()
        #: Tasks that may not begin now, by link: all of its tasks, or there is no entry.
        self.held: dict[Link, deque[Queued]] = {}
        #: Tasks of owners on other nodes whose first one found no token, by link.
        self.starved: dict[Link, deque[Queued]] = {}
        #: Tasks that were taken back and whose turn came before the frame that says so, per link.
        self._dropped: dict[Link, int] = {}

    def add(self, link: Link, frame: pb.PushTasks | pb.PushCalls) -> None:
        """Tasks were pushed."""
        ids: bytes = frame.ids
        numbers = list(frame.templates)
        templates = link.templates
        extras = {extra.index: extra for extra in frame.extras} if frame.extras else None
        if link in self.starved:
            self._fed(link)
        append = self.queue.append if link not in self.held else self.held[link].append
        same = templates[numbers[0]] if len(numbers) == 1 else None
        at = 0
        for index, payload in enumerate(frame.args):
            template = same if same is not None else templates[numbers[index]]
            append((link, ids[at : at + 28], template, payload, extras.get(index) if extras is not None else None))
            at += 28

    def without_token(self, link: Link) -> None:
        """A task of the link was popped and had no token: it was taken back, and the frame that says so is on its way."""
        self._dropped[link] = self._dropped.get(link, 0) + 1

    def starve(self, task: Queued) -> None:
        """A task of an owner on another node was popped and had no token: it and the next ones wait until more is known."""
        link = task[0]
        queue = self.starved[link] = deque((task,))
        queue.extend(other for other in self.queue if other[0] is link)
        self._without(link)

    def _fed(self, link: Link) -> None:
        self.queue.extend(self.starved.pop(link))

    def take_back(self, link: Link, count: int) -> None:
        """The owner has taken that many back: the link's last ones, less those whose turn came before."""
        if link in self.starved:
            self._fed(link)
        left = count - self._dropped.pop(link, 0)
        kept: list[Queued] = []
        queue = self.held.get(link, self.queue)
        while left > 0 and queue:
            task = queue.pop()
            if task[0] is link:
                left -= 1
            else:
                kept.append(task)
        queue.extend(reversed(kept))
        if left < 0:
            # Two frames were on their way, and more turns came between them than the first one spoke of.
            self._dropped[link] = -left

    def find(self, task_id: bytes) -> Queued | None:
        """The task with that id, if it waits here."""
        for task in self.all():
            if task[1].startswith(task_id):
                return task
        return None

    def all(self) -> Iterable[Queued]:
        """Every task that has not begun."""
        return chain(self.queue, *self.held.values(), *self.starved.values())

    def remove(self, task: Queued) -> None:
        """The task will not run."""
        queue = self.held.get(task[0]) or self.starved.get(task[0]) or self.queue
        for place, other in enumerate(queue):
            if other is task:
                del queue[place]
                return

    def hold(self, link: Link, begun: Iterable[Queued] = ()) -> None:
        """Nobody reads the link's results: none of its tasks begins until `release`.

        Args:
            link: Whose.
            begun: Tasks of it that were popped and have not begun after all, in order.
        """
        queue = self.held[link] = deque(begun)
        queue.extend(self.starved.pop(link, ()))
        queue.extend(task for task in self.queue if task[0] is link)
        self._without(link)

    def release(self, link: Link) -> None:
        """The link's results were read: its tasks may begin, behind what waits already."""
        self.queue.extend(self.held.pop(link, ()))

    def forget(self, link: Link) -> None:
        """The link is closed: nobody waits for its tasks."""
        self._dropped.pop(link, None)
        self.held.pop(link, None)
        self.starved.pop(link, None)
        self._without(link)

    def _without(self, link: Link) -> None:
        kept = [task for task in self.queue if task[0] is not link]
        if len(kept) != len(self.queue):
            self.queue.clear()
            self.queue.extend(kept)
