"""Tells people what was done and what went wrong: Events, each once."""

from __future__ import annotations

import datetime
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from manta_operator.kube.errors import KubeError, NotLeaderError
from manta_operator.kube.events import Event
from manta_operator.kube.resources import EVENTS
from manta_operator.kube.writer import MANAGER, Writer

log = logging.getLogger(__name__)

#: The API server forgets events after an hour; then they may be told again.
AGAIN_S = 3600.0
#: Events that are remembered; beyond, the oldest may be told again sooner.
REMEMBERED = 4096
#: What the API server takes.
_NOTE, _REASON = 1024, 128


class Recorder:
    """Events of one instance.

    Args:
        writer: Who writes.
        instance: Of the operator.
        now: Seconds, never going back.
        sent: Is told of each event that was sent.
    """

    def __init__(
        self, writer: Writer, instance: str, now: Callable[[], float], sent: Callable[[Event], None] = lambda told: None
    ) -> None:
        self._writer, self._instance, self._now, self._sent = writer, instance[:128], now, sent
        #: Names of events, and when they were told; oldest first.
        self._told: OrderedDict[str, float] = OrderedDict()

    async def tell(self, regarding: dict[str, Any], told: Event) -> bool:
        """Tell something about an object, once an hour at most, whichever instance does: an event's name is made of what it says.

        Args:
            regarding: The object, with apiVersion, kind, and name, namespace and uid in its metadata.
            told: What.

        Returns:
            Whether it was sent. What goes wrong is logged: nobody waits for an event.

        Raises:
            NotLeaderError: Another instance may tell it.
        """
        event = event_of(regarding, told, self._instance, datetime.datetime.now(datetime.UTC))
        name = f"{event['metadata']['namespace']}/{event['metadata']['name']}"
        now = self._now()
        if now - self._told.get(name, float("-inf")) < AGAIN_S:
            return False
        self._told[name] = now
        self._told.move_to_end(name)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        try:
            await self._writer.post(EVENTS, event)
        except NotLeaderError:
            self._told.pop(name, None)
            raise
        except KubeError as error:
            log.warning("an event of %s was not told: %s", regarding["metadata"]["name"], error)
            return False
        self._sent(told)
        return True


def event_of(regarding: dict[str, Any], told: Event, instance: str, now: datetime.datetime) -> dict[str, Any]:
    """The event's object. The same things said of the same object have the same name.

    Args:
        regarding: The object.
        told: What.
        instance: Who says so.
        now: When; aware.
    """
    metadata = regarding["metadata"]
    said = "\n".join((metadata["uid"], told.reason, told.message))
    name = f"{metadata['name'][:200]}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    return {
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": f"manta.compute/{MANAGER}",
        "reportingInstance": instance,
        "action": "Reconcile",
        "reason": told.reason[:_REASON],
        "type": told.type,
        "note": told.message[:_NOTE],
        "regarding": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
    }
