"""What users call: tasks and actors' methods, with arguments that are still Python values.

Both paths are flat, as `submit` says: all that may be interrupted comes before the first change of state.
"""

from __future__ import annotations

from manta.client.actor_calls import ActorCalls
from manta.client.arguments import Extra
from manta.client.generators import ObjectRefGenerator
from manta.client.refs import ObjectRef, make_ref, released
from manta.client.submit import Submitter
from manta.client.values import INLINE_BYTES
from manta.serde import serialize, to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.actor_client import ActorClient
    from manta.client.session import Session
    from manta.client.templates import Template
    from manta.client.user import UserSession


def results_of(session: Session, template: Template, oids: list[bytes], extra: Extra) -> Any:
    """What the caller of a task or method gets: its ref, a list of refs, its stream, or None."""
    count = template.num_returns
    if count == 1:
        return make_ref(oids[0])
    if count == 0:
        return None
    if count == -1:
        return ObjectRefGenerator(session, extra.stream)
    return [make_ref(one) for one in oids]


class Calling(Submitter):
    """The owner's side of tasks, and how users submit them."""

    _session: UserSession

    def submit(self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a task. Returns its ref, a list of refs, or None, as the template says. From any thread."""
        for arg in args:
            if type(arg) is ObjectRef:
                return self._submit_special(template, args, kwargs)
        for arg in kwargs.values():
            if type(arg) is ObjectRef:
                return self._submit_special(template, args, kwargs)
        serialized = serialize((args, kwargs))
        if serialized.size > INLINE_BYTES or serialized.refs or serialized.handles or template.num_returns != 1:
            return self._submit_special(template, args, kwargs)
        session = self._session
        # All that may be interrupted comes before the first change of state.
        payload = to_bytes(serialized)
        oid = session.ids.task() + b"\1\0\0\0"
        if session.runs_tasks:
            self.note_child(oid)
        with session.lock:
            if session.broken is not None or session.closed:
                session.check()
            self._counts[oid] = 1
            self.unfinished += 1
            look = self.enqueue(template, (oid, template.number, payload))
        if look:
            if len(released) > 64:
                with session.lock:
                    session.drain_released()
            session.pump.poll_once()
        return make_ref(oid)

    def _submit_special(self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session = self._session
        extra = Extra()
        payload, missing = session.prepare(args, kwargs, extra)
        task_id = session.ids.task()
        if session.runs_tasks:
            self.note_child(task_id + b"\1\0\0\0")
        with session.lock:
            session.check()
            oids = self.enter(template, task_id, payload, extra, missing)
        return results_of(session, template, oids, extra)


class ActorCalling(ActorCalls):
    """The calls this process makes of actors, and how users make them."""

    _session: UserSession

    def call(self, client: ActorClient, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method. Returns its ref, a list of refs, or None, as the template says."""
        session = self._session
        special = template.num_returns != 1
        if not special:
            for arg in args:
                if type(arg) is ObjectRef:
                    special = True
                    break
            else:
                for arg in kwargs.values():
                    if type(arg) is ObjectRef:
                        special = True
                        break
        if not special:
            serialized = serialize((args, kwargs))
            special = serialized.size > INLINE_BYTES or bool(serialized.refs) or bool(serialized.handles)
        if special:
            return self._call_special(client, template, args, kwargs)
        payload = to_bytes(serialized)
        oid = client.ids.next() + b"\1\0\0\0"
        if session.runs_tasks:
            self.note_child(oid)
        with session.lock:
            if session.broken is not None or session.closed:
                session.check()
            if client.max_pending > 0:
                self.check_pending(client, template.name)
            self._counts[oid] = 1
            look = self.enqueue(client, (oid, template.number, payload))
        if look:
            session.pump.poll_once()
        return make_ref(oid)

    def _call_special(
        self, client: ActorClient, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        session = self._session
        extra = Extra()
        payload, missing = session.prepare(args, kwargs, extra)
        task_id = client.ids.next()
        if session.runs_tasks:
            self.note_child(task_id + b"\1\0\0\0")
        with session.lock:
            session.check()
            if client.max_pending > 0:
                self.check_pending(client, template.name)
            oids = self.enter(client, template, task_id, payload, extra, missing)
        return results_of(session, template, oids, extra)
