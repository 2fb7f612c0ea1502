"""Control without sockets: requests go through the very handlers that gRPC calls, encoded and decoded."""

import types
from typing import Any

from google.protobuf.message_factory import GetMessageClass

from manta.control.logs import EventLog
from manta.control.model import Instant
from manta.control.orders import Orders
from manta.control.runner import Runner
from manta.control.services.compose import compose
from manta.control.services.watch import present
from manta.control.state import ControlState, Limits, Stored
from manta.control.storage.memory import MemoryStorage
from manta.control.watching import Watchers
from manta.rpc.v1 import control_pb2

METHODS = {method.name: method for method in control_pb2.DESCRIPTOR.services_by_name["ControlService"].methods}


class Aborted(Exception):
    pass


class Context:
    def peer(self):
        return "ipv4:10.0.0.1:4711"

    async def abort(self, code, details, trailing_metadata=()):
        raise Aborted(f"{code.name}: {details}")


class Control:
    def __init__(self, limits: Limits | None = None, stored: Stored | None = None) -> None:
        self.storage = MemoryStorage()
        self.storage.open()
        self.state = ControlState(stored or Stored(), Instant(0.0), limits=limits)
        self.told: list[Any] = []
        self.orders = Orders(EventLog(None))
        self.runner = Runner(
            self.state, self.storage, Watchers(present(self.state)), self.tell, lambda: Instant(1.0, 1)
        )
        self.orders.attach(self.state, self.runner.decide)
        handler: Any = compose(self.runner, self.orders, EventLog(None), self.defect, lambda peer: None).handler
        self.handlers = {
            name: handler.service(types.SimpleNamespace(method=f"/manta.rpc.v1.ControlService/{name}"))
            for name in METHODS
        }
        self.number = 0

    def tell(self, command):
        self.told.append(command)
        self.orders.tell(command)

    def defect(self, error):
        raise AssertionError("a defect") from error

    def request(self, name, fields):
        message = GetMessageClass(METHODS[name].input_type)(**fields)
        if "request_id" in message.DESCRIPTOR.fields_by_name:
            self.number += 1
            message.request_id = self.number.to_bytes(16, "big")
        return message.SerializeToString()

    async def call(self, name, encoded):
        """One delivery of a request; what came back, readable."""
        handler = self.handlers[name]
        request = handler.request_deserializer(encoded)
        if not METHODS[name].server_streaming:
            try:
                return await handler.unary_unary(request, Context())
            except Aborted as refused:
                return str(refused)

        async def requests():
            yield request

        try:
            return [response async for response in handler.stream_stream(requests(), Context())]
        except Aborted as refused:
            return str(refused)

    async def prepare(self, calls):
        for name, fields in calls:
            reply = await self.call(name, self.request(name, fields))
            assert not isinstance(reply, str), (name, reply)

    def picture(self):
        """Everything that control holds, is told to raylets, and would find again on its store."""
        self.state.validate()
        return {
            "nodes": self.state.nodes.rows,
            "available": {node: self.state.nodes.available(node) for node in self.state.nodes.rows},
            "held": self.state.nodes.held(),
            "jobs": self.state.jobs.rows,
            "actors": self.state.actors.rows,
            "kv": {key: self.state.kv.get("n", key) for key in self.state.kv.keys("n")},
            "functions": self.state.functions.statistics(),
            "told": self.told,
            "stored": self.storage._records,
        }
