"""A session of a process that runs user code: what is called is pickled here, what is read is unpickled.

Everything else is in `direct`. Drivers and workers have one of these.
"""

from __future__ import annotations

from manta.client.actor_making import ActorMaking
from manta.client.actors import ActorClients
from manta.client.calling import ActorCalling, Calling
from manta.client.direct import DirectSession
from manta.client.handles import ActorHandle, reduce_handle
from manta.client.objects import Objects
from manta.client.pickling import Pickling, dump
from manta.client.refs import ObjectRef, reduce_ref
from manta.serde import install_hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.rpc.v1 import channel_pb2 as pb


class UserSession(DirectSession):
    """The process's connection to its cluster; a `session.Session`."""

    arguments: Pickling
    submitter: Calling
    dump = staticmethod(dump)

    def _make_parts(self) -> None:
        self.arguments = Pickling(self)
        self.submitter = Calling(self)
        self.actors = ActorClients(self, ActorCalling, ActorMaking)
        self.objects = Objects(self)

    def _name_parts(self) -> None:
        super()._name_parts()
        objects = self.objects
        self.put, self.get_one, self.get_many, self.wait = objects.put, objects.get_one, objects.get_many, objects.wait
        self.read, self.future_of, self.wait_for_values = objects.read, objects.future_of, objects.wait_for_values
        self.submit, self.prepare = self.submitter.submit, self.arguments.prepare
        calls, creation = self.actors.calls, self.actors.creation
        assert isinstance(calls, ActorCalling)
        assert isinstance(creation, ActorMaking)
        self.call_actor, self.create_actor = calls.call, creation.create_actor

    def connect(self, raylet: str, hello: pb.Hello, *, directory: str) -> None:
        """See `DirectSession.connect`."""
        install_hooks(ObjectRef, reduce_ref, ActorHandle, reduce_handle)
        super().connect(raylet, hello, directory=directory)
