"""A reflector asks for what is selected, and its store has of that what is kept."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from manta_operator.kube.reflector import Limits, Reflector
from manta_operator.kube.resources import EVENTS, Key
from manta_operator.kube.store import Store


def obj(name, version, good=True):
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "good": good}


class Server:
    """Answers one list in two pages, and one watch; then says nothing."""

    def __init__(self, *events):
        self.events, self.queries, self.silences = events, [], []
        self.told = asyncio.Event()

    async def call(self, method, path, *, query, timeout_s):
        self.queries.append(query)
        more = {} if "continue" in query else {"continue": "next"}
        items = [obj("a", 1), obj("b", 2, good=False)] if more else [obj("c", 3)]
        return {"metadata": {"resourceVersion": "5", **more}, "items": items}

    @asynccontextmanager
    async def watch(self, path, query, *, connect_s, silence_s):
        self.queries.append(query)
        self.silences.append(silence_s)

        async def events():
            for event in self.events:
                yield event
            self.told.set()
            await asyncio.Event().wait()

        yield events()


def read(server, store, **more):
    """Read until the server has told everything."""

    async def body():
        reflector = Reflector(server, EVENTS, store, **more)
        running = asyncio.create_task(reflector.run())
        await asyncio.wait_for(server.told.wait(), 10.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(body())


def test_what_is_not_kept_is_as_good_as_not_there():
    """In lists and in watches; what changes so that it is not kept any more is gone."""
    server = Server(
        {"type": "ADDED", "object": obj("d", 6, good=False)},
        {"type": "MODIFIED", "object": obj("b", 7)},
        {"type": "MODIFIED", "object": obj("a", 8, good=False)},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
        {"type": "DELETED", "object": obj("c", 10)},
    )
    store, changes = Store(), []
    store.listen(lambda before, after: changes.append((before or after)["metadata"]["name"]))
    read(server, store, keep=lambda one: one["good"])
    assert [one["metadata"]["name"] for one in store.all()] == ["b"]
    assert store.get(Key("", "b"))["metadata"]["resourceVersion"] == "7"
    assert changes == ["a", "c", "b", "a", "c"]


def test_fields_are_selected_by_the_server():
    """In every question."""
    server = Server()
    read(server, Store(), selector="a=b", fields="type=Warning")
    assert len(server.queries) == 3
    assert {(query["labelSelector"], query["fieldSelector"]) for query in server.queries} == {("a=b", "type=Warning")}


def test_where_no_bookmarks_come_watches_are_long_and_silence_is_no_death():
    """The API server sends none for Events: what follows a watch without events is a list, so it lasts an hour, silent or not."""
    limits = Limits(watch_s=300.0, unmarked_watch_s=3600.0, silence_s=90.0)
    for bookmarks, watch_s, silence_s in ((True, 300, 90.0), (False, 3600, 4590.0)):
        server = Server()
        read(server, Store(), bookmarks=bookmarks, limits=limits, unit=lambda: 0.5)
        assert [query["timeoutSeconds"] for query in server.queries if "timeoutSeconds" in query] == [str(watch_s)]
        assert server.silences == [silence_s]
        assert silence_s > watch_s * 1.25 or bookmarks


def test_a_list_is_trimmed_page_by_page_and_each_object_once():
    """Whole objects of a whole list would be most of the operator's memory, and Python does not give it back."""
    server, trimmed = Server({"type": "ADDED", "object": obj("d", 6)}), []

    def trim(one):
        trimmed.append((one["metadata"]["name"], len(server.queries)))
        return {"metadata": one["metadata"]}

    store = Store(trim=trim)
    read(server, store)
    assert trimmed == [("a", 1), ("b", 1), ("c", 2), ("d", 3)]
    assert {tuple(one) for one in store.all()} == {("metadata",)}
