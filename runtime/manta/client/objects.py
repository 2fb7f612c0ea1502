"""What users do with objects: put, get, wait, futures. Flat: each avoided call shows in the rows of `put` and `get`."""

from __future__ import annotations

from itertools import compress, filterfalse, islice
from operator import not_

from manta.client import moved
from manta.client.counting import counted_inside
from manta.client.reading import exception_of, load
from manta.client.refs import make_ref, released
from manta.client.values import INLINE_BYTES, All, Call, Failure, Some, Stored
from manta.core import errors
from manta.serde import deserialize, serialize, to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Sequence
    from typing import Any

    from manta.client.refs import ObjectRef
    from manta.client.user import UserSession
    from manta.client.values import Value


class Objects:
    """Stores and reads values. From any thread."""

    def __init__(self, session: UserSession) -> None:
        self._session = session
        self._values = session.values
        self._fetching = session.fetching
        self._known = session.values.known
        self._ownership = session.ownership
        self._counts = session.ownership.counts
        self._borrows = session.ownership.borrows

    # -- put

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store a value; it may be changed afterwards without effect."""
        session = self._session
        session.check()
        serialized = serialize(value)
        if serialized.refs or serialized.handles:
            inner = counted_inside(serialized)
            with session.lock:
                session.counting.check_current(inner, serialized)
        oid = session.ids.put()
        if serialized.size <= INLINE_BYTES:
            data: Any = to_bytes(serialized)
        else:
            session.store.create(oid, serialized, session.worker_id)
            data = Stored(serialized.size, session.store.node_id)
        with session.lock:
            self._counts[oid] = 1
            if serialized.refs or serialized.handles:
                session.counting.hold_contained(oid, inner)
            self._known[oid] = data
            if len(released) > 64:
                session.drain_released()
        return make_ref(oid)

    # -- get

    def get_one(self, ref: ObjectRef[Any], deadline: float | None) -> Any:
        """The value of one ref."""
        oid = ref._id
        value = self._known.get(oid)
        if value is None:
            self._await_all([oid], deadline)
            value = self._known.get(oid)
            if value is None:
                raise _timed_out([oid])
        if type(value) is bytes and oid not in self._borrows:
            return deserialize(value)
        return self.read(oid, value, deadline)

    def get_many(self, refs: Sequence[ObjectRef[Any]], deadline: float | None) -> list[Any]:
        """The values of some refs, in order."""
        ids = [ref._id for ref in refs]
        known = self._known
        missing = [oid for oid in ids if oid not in known]
        if missing:
            failed = self._await_all(missing, deadline)
            if failed is not None:
                self.read(failed, known[failed])
            missing = [oid for oid in missing if oid not in known]
            if missing:
                raise _timed_out(missing)
        borrows = self._borrows
        fetched: dict[bytes, memoryview] = {}
        results = []
        for oid in ids:
            value = known[oid]
            if type(value) is bytes and oid not in borrows:
                results.append(deserialize(value))
            elif type(value) is Stored and value.node_id != self._session.store.node_id and len(ids) > 1:
                if oid not in fetched:
                    fetched = self._fetch(ids, deadline)
                results.append(self.read(oid, value, deadline, fetched[oid]))
            else:
                results.append(self.read(oid, value, deadline))
        return results

    def _fetch(self, ids: list[bytes], deadline: float | None) -> dict[bytes, memoryview]:
        """Views of those that live on other nodes: fetched together, not one after the other."""
        store = self._session.store
        far = {
            oid: value for oid in ids if type(value := self._known[oid]) is Stored and value.node_id != store.node_id
        }
        views = moved.views(self._session, far, deadline)
        if views is None:
            raise errors.GetTimeoutError(f"{len(far)} values of other nodes were not here in time")
        return dict(zip(far, views, strict=True))

    def read(self, oid: bytes, value: Value, deadline: float | None = None, view: memoryview | None = None) -> Any:
        """The Python value of an object that is there; of one that is stored, `view`, if it was fetched already.

        Raises:
            What the task raised, as its reader sees it.
        """
        session = self._session
        kind = type(value)
        if kind is Failure:
            value.read = True  # type: ignore[union-attr]
            raise exception_of(value)  # type: ignore[arg-type]
        if kind is Stored:
            if view is None:
                store = session.store
                here = value.node_id == store.node_id  # type: ignore[union-attr]
                views = store.get([oid], deadline) if here else moved.views(session, {oid: value}, deadline)  # type: ignore[dict-item]
                if views is None:
                    raise errors.GetTimeoutError(f"the value of {oid.hex()} was not here in time")
                view = views[0]
            value = view  # type: ignore[assignment]
        if oid not in self._borrows:
            if oid in self._ownership.contains:
                return load(session.counting, value, session.capture.refs)  # type: ignore[arg-type]
            return deserialize(value)  # type: ignore[arg-type]
        refs: list[bytes] = []
        result = load(session.counting, value, refs)  # type: ignore[arg-type]
        if refs:
            with session.lock:
                # The lender is the object whose value brought them: it stays until their owners know us.
                self._ownership.add(oid)
                session.register_borrows(refs, lambda: self._ownership.drop(oid))
                session.perform()
        return result

    def _await_all(self, missing: list[bytes], deadline: float | None) -> bytes | None:
        """Wait for objects; the first that failed, if one did."""
        session = self._session
        with session.lock:
            session.check()
            session.counting.check_counted(missing)
            waiter = All(len(missing), session.pump.finish)
            if len(missing) > 1 and self._known.keys().isdisjoint(missing):
                session.borrowing.watch_all(missing, waiter)
            else:
                for oid in missing:
                    session.watch(oid, waiter)
                    if waiter.done:
                        break
            if not waiter.done:
                session.flush()
        try:
            session.wait_for(waiter, lambda: self._describe(missing), deadline)
        finally:
            if not waiter.done or waiter.failed is not None:
                with session.lock:
                    self._values.unwatch(missing, waiter)
        return waiter.failed

    def wait_for_values(self, oids: Sequence[bytes]) -> None:
        """Wait until objects are there; a failed one raises what its task raised."""
        missing = [oid for oid in oids if oid not in self._known]
        failed = self._await_all(missing, None) if missing else None
        if failed is not None:
            self.read(failed, self._known[failed])

    def future_of(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """A future of the value, completed outside of the pump."""
        from manta.client.futures import ObjectFuture

        session = self._session
        future = ObjectFuture(ref)
        oid = ref._id

        def complete(oid: bytes, value: Value) -> None:
            session.background.run(lambda: future.complete(session, oid, value))

        with session.lock:
            session.check()
            session.counting.check_counted((oid,))
            session.watch(oid, Call(complete))
            session.flush()
        session.pump.attend()
        return future

    # -- wait

    def wait(
        self,
        refs: list[ObjectRef[Any]],
        ids: list[bytes],
        num_returns: int,
        deadline: float | None,
        fetch_local: bool = True,
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Split refs into ready and not, once enough are ready or time is up."""
        there = self._known.__contains__
        ready = list(islice(filter(there, ids), num_returns))
        if len(ready) < num_returns:
            if deadline == 0:
                self.look_for(ids)
            else:
                self._await_some(ids, num_returns, deadline)
            ready = list(islice(filter(there, ids), num_returns))
        if fetch_local and self._fetching.any_far:
            return self._fetching.wait_here(refs, ids, num_returns, deadline)
        if len(ready) == 1:
            rest = refs[:]
            return [rest.pop(ids.index(ready[0]))], rest
        if not ready:
            return [], refs[:]
        if len(ready) == len(ids):
            return refs[:], []
        chosen = list(map(set(ready).__contains__, ids))
        return list(compress(refs, chosen)), list(compress(refs, map(not_, chosen)))

    def _await_some(self, ids: list[bytes], num_returns: int, deadline: float | None) -> None:
        """Wait until so many of the objects are there; failed ones count."""
        session = self._session
        with session.lock:
            session.check()
            missing = list(filterfalse(self._known.__contains__, ids))
            wanted = num_returns - (len(ids) - len(missing))
            if wanted <= 0:
                return
            session.counting.check_counted(missing)
            waiter = Some(wanted, session.pump.finish)
            session.borrowing.watch_all(missing, waiter)
            session.flush()
        try:
            session.wait_for(waiter, lambda: self._describe(ids), deadline)
        finally:
            with session.lock:
                self._values.unwatch(missing, waiter)

    def look_for(self, ids: list[bytes]) -> None:
        """Take notice of what has come, and make sure that news of the others will."""
        session = self._session
        with session.lock:
            missing = [oid for oid in ids if oid not in self._known]
            session.counting.check_counted(missing)
            want = session.borrowing.want
            for oid in missing:
                want(oid)
            session.flush()
        session.pump.poll_once()

    # -- what a long wait waits for

    def _describe(self, missing: Sequence[bytes]) -> str:
        session = self._session
        left = [oid for oid in missing if oid not in self._known]
        first = left[0].hex() if left else "?"
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        with session.lock:
            where = session.where(left[0]) if left else ""
            statistics = session.submitter.statistics()
        return (
            f"ObjectRef({first}){where}{more}; of this process's tasks {statistics['inflight']} are with workers, "
            f"{statistics['pending']} wait for one"
        )


def _timed_out(missing: Sequence[bytes]) -> errors.GetTimeoutError:
    return errors.GetTimeoutError(
        f"Get timed out: some object(s) not ready: {len(missing)} of them, first ObjectRef({missing[0].hex()})"
    )
