"""Everything that can be asked of a head from outside: every gRPC method of the descriptors, every route of the table."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

import manta.rpc.v1
from manta.dashboard.compose import compose
from manta.dashboard.config import DashboardConfig
from manta.dashboard.context import Context
from manta.dashboard.routes import Route


def grpc_methods() -> dict[str, MethodDescriptor]:
    """Path ("/manta.rpc.v1.ControlService/KvGet") to descriptor, of all services there are."""
    found = {}
    for module in pkgutil.iter_modules(manta.rpc.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"manta.rpc.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                for method in service.methods:
                    found[f"/{service.full_name}/{method.name}"] = method
    return found


def http_routes(folder: Path = Path("/nonexistent/session")) -> dict[tuple[str, str], Route]:
    """(method, path) to route, as the server composes them."""

    def start(coro: Any, *, name: str) -> None:
        coro.close()

    config = DashboardConfig(control="unix:/nonexistent", session_dir=folder, tokens=folder / "tokens")
    nothing: Any = SimpleNamespace(ask=None)
    tasks: Any = SimpleNamespace(start=start)
    return dict(compose(Context(config, nothing, tasks, nothing, "session", secure=True)).table)


#: Routes whose answer ends when its reader leaves.
ENDLESS = frozenset({"/api/job-events"})


def filled(path: str, value: str = "x") -> str:
    """A route's path with something in its places."""
    return "/".join(value if part.startswith("{") else part for part in path.split("/"))
