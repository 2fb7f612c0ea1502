"""`init`'s result, and the runtime context."""

from __future__ import annotations

import os
import sys

from manta.client import current
from manta.client.running import running
from manta.core.ids import ActorID, JobID, NodeID, TaskID, WorkerID
from manta.core.options.environments import fields
from manta.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from manta.client.handles import ActorHandle
    from manta.client.session import Session


class RayContext:
    """The cluster this process has joined. `with init() as context:` leaves it at the end.

    Attributes:
        dashboard_url: "host:port" of the dashboard; '' when there is none.
        python_version: Version of the interpreter.
        ray_version: Version of Manta.
        ray_commit: '' - releases are not commits.
        address_info: Where everything is.
    """

    def __init__(self, address_info: dict[str, Any], leave: Callable[[], None], *, page: str = "") -> None:
        self.dashboard_url: str = address_info.get("webui_url") or ""
        self.python_version = ".".join(map(str, sys.version_info[:3]))
        self.ray_version = __version__
        self.ray_commit = ""
        self.address_info = address_info
        self._leave = leave
        #: URL of the dashboard.
        self._page = page

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *exc: object) -> None:
        self._leave()

    def disconnect(self) -> None:
        """Leave the cluster, as `shutdown` does."""
        self._leave()

    def __getitem__(self, key: str) -> Any:
        import warnings

        warnings.warn(f'use context.address_info["{key}"] instead', DeprecationWarning, stacklevel=2)
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def keys(self) -> Any:
        """Names in `address_info`."""
        return self.address_info.keys()

    def __repr__(self) -> str:
        return (
            f"RayContext(dashboard_url={self.dashboard_url!r}, python_version={self.python_version!r}, "
            f"ray_version={self.ray_version!r}, ray_commit={self.ray_commit!r})"
        )

    def _repr_html_(self) -> str:
        import html

        rows = [("Python version", html.escape(self.python_version)), ("Ray version", html.escape(self.ray_version))]
        if self._page:
            page = html.escape(self._page)
            rows.append(("Dashboard", f'<a href="{page}" target="_blank" rel="noreferrer">{page}</a>'))
        cells = "".join(
            f"<tr><td style='text-align: left'><b>{name}:</b></td><td style='text-align: left'>{shown}</td></tr>"
            for name, shown in rows
        )
        return f"<table class='jp-RenderedHTMLCommon'>{cells}</table>"

    def _repr_mimebundle_(self, **keywords: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


class RuntimeContext:
    """Where this code runs: job, node, worker, task, actor. Ids are lower-case hex."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _in_worker(self) -> bool:
        return self._session.is_worker

    def _only_in_workers(self, what: str) -> bool:
        if not self._in_worker:
            import logging

            logging.getLogger("manta").warning(
                "This method is only available when the process is a worker. It is a driver: %s is None.", what
            )
            return False
        return True

    def get_job_id(self) -> str:
        """The job."""
        return str(self._session.welcome.job_id.hex())

    def get_node_id(self) -> str:
        """The node this process lives on."""
        return str(self._session.welcome.node_id.hex())

    def get_worker_id(self) -> str:
        """This process."""
        return self._session.worker_id.hex()

    def get_task_id(self) -> str | None:
        """The running task; None on a driver."""
        now = running.get()
        if now is None:
            self._only_in_workers("the task id")
            return None
        return now.oid[:24].hex()

    def get_task_name(self) -> str | None:
        """Name of the running task, as its options gave it; None on a driver."""
        now = running.get()
        if now is None:
            self._only_in_workers("the task name")
            return None
        return now.name

    def get_task_function_name(self) -> str | None:
        """The function the running task calls, "module.function" or "module.Class.method"; None on a driver.

        A script's functions are in the module that it would be if it were imported.
        """
        now = running.get()
        if now is None:
            self._only_in_workers("the function name")
            return None
        template, host = now.template, self._session.actor_host
        function = getattr(template, "function", None)
        if host is not None:
            module: str = host.table.module
            name = f"{host.class_name}.{template.definition.method if template is not None else '__init__'}"
            function = function or host.constructor
        else:
            module = getattr(function, "__module__", None) or "__main__"
            name = getattr(function, "__qualname__", None) or now.name
        if module == "__main__":
            code = getattr(function, "__code__", None)
            stem, ending = os.path.splitext(os.path.basename(code.co_filename)) if code is not None else ("", "")
            module = stem if ending == ".py" else module
        return f"{module}.{name.rpartition('<locals>.')[2]}"

    def get_actor_id(self) -> str | None:
        """The actor this process is; None if it is none."""
        host = self._session.actor_host
        if host is None:
            self._only_in_workers("the actor id")
            return None
        return str(host.actor_id.hex())

    def get_actor_name(self) -> str | None:
        """Its name; '' for an actor without, None if this is no actor."""
        host = self._session.actor_host
        if host is None:
            self._only_in_workers("the actor name")
            return None
        return str(host.spec.name)

    def get_placement_group_id(self) -> str | None:
        """The placement group this runs in; None outside of groups and in drivers."""
        from manta.core.bundles import group_of

        group = group_of(self._session.held_resources())
        return group.hex() if group else None

    def get_assigned_resources(self) -> dict[str, float]:
        """What the running task or actor holds. Only in a worker."""
        if not self._in_worker:
            raise AssertionError("This method is only available when the process is a worker. Current mode: DRIVER")
        from manta.core.resources import to_floats

        resources: dict[str, float] = to_floats({k: v for k, v in self._session.held_resources().items() if v})
        return resources

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Devices by kind."""
        return {"GPU": [str(one) for one in self._session.held_gpus()]}

    def get_runtime_env_string(self) -> str:
        """The runtime environment as JSON."""
        import json

        return json.dumps(self.runtime_env)

    def get_session_name(self) -> str:
        """The cluster's session."""
        return str(self._session.welcome.session_name)

    def get_temp_dir(self) -> str:
        """Folder of the session."""
        return os.path.dirname(str(self._session.welcome.session_dir))

    def get_node_labels(self) -> dict[str, str]:
        """Labels of the node."""
        from manta.api.cluster import nodes

        mine = self.get_node_id()
        return next((dict(row["Labels"]) for row in nodes() if row["NodeID"] == mine), {})

    def is_canceled(self) -> bool:
        """Whether somebody asked to cancel the running task. Not on a driver and not in async actors."""
        now = running.get()
        if now is None:
            raise RuntimeError("This method is only available in tasks and actor methods, not on a driver.")
        host = self._session.actor_host
        if host is not None and host.spec.is_async:
            raise RuntimeError("is_canceled() is not available in async actors: catch asyncio.CancelledError.")
        return bool(now.cancelled)

    @property
    def namespace(self) -> str:
        """Namespace of the job's named actors."""
        return str(self._session.welcome.namespace)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether this actor was restarted."""
        host = self._session.actor_host
        if host is None:
            raise AssertionError("This method shouldn't be called inside of a normal task or a driver.")
        return bool(host.restarted)

    @property
    def current_actor(self) -> ActorHandle[Any]:
        """A handle of the actor this runs in."""
        host = self._session.actor_host
        if host is None:
            raise RuntimeError("This method is only available in an actor.")
        from manta.client.handles import ActorHandle

        owner = host.spec.owner.SerializeToString(deterministic=True)
        return ActorHandle(host.actor_id, host.table, owner, counted=False)

    @property
    def gcs_address(self) -> str:
        """Where control is, as this process reaches it: through its raylet."""
        return str(self._session.raylet_endpoint)

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment this runs in."""
        return fields(self._session.environment)

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether tasks submitted here run in the placement group of this one."""
        from manta.client.capturing import captured_group

        return self._in_worker and bool(captured_group(self._session))

    def get(self) -> dict[str, Any]:
        """Deprecated: everything as a dict of ids."""
        context: dict[str, Any] = {"job_id": self.job_id, "node_id": self.node_id, "namespace": self.namespace}
        if self._in_worker:
            context["task_id"] = self.task_id
            context["actor_id"] = self.actor_id
        return context

    @property
    def job_id(self) -> JobID:
        """Deprecated: `get_job_id`."""
        return JobID(self._session.welcome.job_id)

    @property
    def node_id(self) -> NodeID:
        """Deprecated: `get_node_id`."""
        return NodeID(self._session.welcome.node_id)

    @property
    def worker_id(self) -> WorkerID:
        """Deprecated: `get_worker_id`."""
        return WorkerID(self._session.worker_id)

    @property
    def task_id(self) -> TaskID | None:
        """Deprecated: `get_task_id`."""
        text = self.get_task_id()
        return None if text is None else TaskID.from_hex(text)

    @property
    def actor_id(self) -> ActorID | None:
        """Deprecated: `get_actor_id`."""
        text = self.get_actor_id()
        return None if text is None else ActorID.from_hex(text)


def get_runtime_context() -> RuntimeContext:
    """The context of the code that calls."""
    return RuntimeContext(current.require())


def get_gpu_ids() -> list[Any]:
    """Indexes of the GPUs the running task may use; strings when the node was given names for them."""
    return list(current.require().held_gpus())
