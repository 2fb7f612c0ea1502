"""A worker process: its real inbox, a loop that takes a token before each start, and an actor if it is told to be one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manta.client.far import Far
from manta.client.links import Link
from manta.rpc.v1 import channel_pb2 as pb
from manta.worker.inbox import Inbox
from tests.sim.cluster.wires import End, connect

if TYPE_CHECKING:
    from tests.sim.cluster.raylet import Raylet

LARGE = 1 << 20


class Worker:
    """One process."""

    def __init__(self, raylet: Raylet, worker_id: bytes) -> None:
        self.raylet, self.world, self.worker_id = raylet, raylet.world, worker_id
        self.alive = True
        self.inbox = Inbox()
        self.links: dict[End, Link] = {}
        self.running: tuple[Link, bytes] | None = None
        self.unsent: dict[Link, list[tuple[bytes, int, int, Any]]] = {}
        self.actor: tuple[bytes, int] | None = None
        self.leaving = False
        #: What is being written: object to what happens when there is room.
        self.creating: dict[bytes, Any] = {}
        #: What is being read, by request; where an argument is now, that is asked of its owner.
        self.reading: dict[int, Any] = {}
        self.asking: dict[bytes, Any] = {}
        self.read: list[bytes] = []
        self._requests = 0
        here, self.at_raylet = connect(raylet.machine, raylet.machine)
        here.far = self.at_raylet.far = False
        self.to_raylet = here
        here.on_frame = self.heard

    # ---- from the raylet

    def heard(self, frame: Any) -> None:
        if not self.alive:
            return
        match frame:
            case pb.Exit():
                self.leaving = True
                self.leave_if_idle()
            case pb.StartActor():
                self.actor = frame.actor_id, frame.incarnation
                chance = self.world.clock.chance
                self.later(chance.random() ** 2 * 0.5, lambda: self.constructed(frame, chance.random() < 0.05))
            case pb.ObjectCreated():
                then = self.creating.pop(frame.object_id, None)
                if then is not None:
                    then(not frame.HasField("error"))
            case pb.ObjectsReady():
                self.reading.pop(frame.request_id)(frame)

    def later(self, seconds: float, call: Any) -> None:
        machine = self.raylet.machine
        self.world.clock.after(seconds, lambda: machine.run(lambda: call() if self.alive else None))

    def constructed(self, frame: pb.StartActor, failed: bool) -> None:
        said = pb.ActorStarted(actor_id=frame.actor_id, incarnation=frame.incarnation)
        if failed:
            said.failure.message = "its constructor raised"
        self.to_raylet.send(said)
        if failed:
            self.raylet.processes.ends(self.worker_id, 0, "its constructor raised")

    def leave_if_idle(self) -> None:
        if self.leaving and self.running is None and not any(self.inbox.all()):
            self.raylet.processes.ends(self.worker_id, 0, "it left")

    # ---- from owners

    def accept(self, end: End, tokens_fd: int, read_fd: int = -1) -> None:
        link: Any = Link(end)  # type: ignore[arg-type]
        link.tokens_fd, link.read_fd = tokens_fd, read_fd
        link.far = None if end.other.machine is self.raylet.machine else Far()
        self.links[end] = link
        end.on_frame = lambda frame: self.pushed(link, frame) if self.alive else None
        end.on_closed = lambda reason: self.link_closed(end)

    def pushed(self, link: Any, frame: Any) -> None:
        match frame:
            case pb.Hello():
                link.worker_id, link.node_id = frame.worker_id, frame.node_id
            case pb.OpenLease():
                link.lease = frame.lease_id
            case pb.DefineTemplate():
                link.templates[frame.number] = frame
            case pb.PushTasks():
                self.inbox.add(link, frame)
                if link.far is not None:
                    self.world.kernel.eventfd_write(link.read_fd, len(frame.args))
                    self.world.kernel.eventfd_write(link.tokens_fd, len(frame.args))
                self.turn()
            case pb.ObjectValue():
                then = self.asking.pop(frame.object_id, None)
                if then is not None:
                    then(frame)
            case pb.TakeBack():
                self.inbox.take_back(link, frame.count)
                link.connection.send(pb.TookBack(lease_id=link.lease))
                self.turn()

    def link_closed(self, end: End) -> None:
        link = self.links.pop(end, None)
        if link is None or not self.alive:
            return
        self.inbox.forget(link)
        self.unsent.pop(link, None)
        if self.running is not None and self.running[0] is link:
            # Whom it asked does not answer any more.
            for oid, then in list(self.asking.items()):
                del self.asking[oid]
                then(None)
        self.close(link)

    def close(self, link: Any) -> None:
        for fd in (link.tokens_fd, link.read_fd):
            if fd >= 0:
                self.world.kernel.close(fd)
        link.tokens_fd = link.read_fd = -1

    # ---- the loop

    def turn(self) -> None:
        while self.alive and self.running is None and self.inbox.queue:
            task: Any = self.inbox.queue.popleft()
            link, oid, template = task[0], task[1], task[2]
            try:
                self.world.kernel.eventfd_read(link.tokens_fd)
            except BlockingIOError:
                if link.far is not None:
                    self.inbox.starve(task)
                else:
                    self.inbox.without_token(link)
                continue
            self.world.started(oid, self.worker_id)
            self.running = link, oid
            large = [ref for ref in task[4].refs if ref.size] if task[4] is not None else []
            if large:
                self.fetch(link, oid, large, template)
            else:
                self.compute(oid, template)
        if self.running is None:
            self.flush()
            self.leave_if_idle()

    def compute(self, oid: bytes, template: Any) -> None:
        longest_us, _, kind = template.name.partition(" ")
        size = LARGE if kind == "large" else 0
        seconds = self.world.clock.chance.random() * int(longest_us) / 1e6
        self.later(seconds, lambda: self.computed(oid, seconds, size))

    # ---- arguments

    def fetch(self, link: Any, oid: bytes, refs: list[Any], template: Any, tries: int = 0) -> None:
        """Read them, from wherever they are: as `worker.arguments` and `client.moved` do."""
        self.flush()
        self._requests += 1
        ask = pb.GetObjects(request_id=self._requests, object_ids=[ref.object_id for ref in refs])
        for index, ref in enumerate(refs):
            if ref.node_id != self.raylet.node_id:
                ask.places.add(index=index, size=ref.size, node_ids=[ref.node_id])

        def ready(frame: pb.ObjectsReady) -> None:
            if not frame.HasField("error"):
                self.read = list(frame.object_ids)
                self.compute(oid, template)
                return
            self.world.unread(self, link, frame)
            lost = next((ref for ref in refs if [ref.object_id] == list(frame.object_ids)), None)
            if lost is None or frame.error.code != "OBJECT_LOST" or tries == 8 or link.connection.closed:
                self.failed(link, oid, frame)
                return
            dead = lost.node_id if lost.node_id in self.raylet.neighbours._dead else b""

            def answered(value: Any) -> None:
                if value is None or value.unknown or value.value.node_id == lost.node_id:
                    self.failed(link, oid, frame)
                    return
                lost.node_id = value.value.node_id
                self.fetch(link, oid, refs, template, tries + 1)

            self.asking[lost.object_id] = answered
            link.connection.send(pb.WantObject(object_ids=[lost.object_id], dead_node=dead))

        self.reading[self._requests] = ready
        self.to_raylet.send(ask)

    def failed(self, link: Any, oid: bytes, frame: pb.ObjectsReady) -> None:
        """An argument is not to be had."""
        self.finished(link, oid, 0.0, -1, frame.error)

    def flush(self) -> None:
        for link, results in self.unsent.items():
            if results:
                frame = pb.TaskResults(lease_id=link.lease, ids=b"".join(oid for oid, _, _, _ in results))
                for index, (_, micros, size, error) in enumerate(results):
                    frame.micros.append(micros)
                    frame.values.append(b"" if size else b"v")
                    if error is not None:
                        failure = pb.TaskFailure(kind=pb.FAILURE_KIND_SYSTEM, error=error)
                        frame.extras.add(index=index, failure=failure)
                    elif size:
                        extra = frame.extras.add(index=index)
                        extra.returns.add(size=size, node_id=self.raylet.node_id)
                link.connection.send(frame)
        self.unsent = {}

    def computed(self, oid: bytes, seconds: float, size: int) -> None:
        assert self.running is not None
        link = self.running[0]
        if not size or link.connection.closed:
            self.finished(link, oid, seconds, 0)
            return
        self.flush()
        if link.node_id != self.raylet.node_id:
            self.to_raylet.send(pb.OwnerElsewhere(worker_id=link.worker_id, node_id=link.node_id))

        def written(there: bool) -> None:
            if there:
                self.to_raylet.send(pb.SealObject(object_id=oid))
            self.finished(link, oid, seconds, size if there else 0)

        self.creating[oid] = written
        self.to_raylet.send(pb.CreateObject(object_id=oid, size=size, owner=link.worker_id))

    def finished(self, link: Link, oid: bytes, seconds: float, size: int, error: Any = None) -> None:
        self.running = None
        if self.read:
            self.to_raylet.send(pb.ReleaseObjects(object_ids=self.read))
            self.read = []
        self.unsent.setdefault(link, []).append((oid, int(seconds * 1e6), size, error))
        if self.world.clock.chance.random() < 0.3:
            self.flush()
        self.turn()

    # ---- the end

    def dies(self, silent: bool = False) -> None:
        """The process is gone; what it had said is heard."""
        self.alive = False
        for end, link in self.links.items():
            self.close(link)
            end.lost(silent)
        self.links.clear()
        self.to_raylet.lost(silent)
