"""Tasks submitted by what runs in a placement group that captures them: they run in the group too, unless they say where."""

from __future__ import annotations

from manta.client.running import running
from manta.core.bundles import in_group
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.convert import resources_from_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.templates import Template
    from manta.client.user import UserSession


class Capturing:
    """Stands before a worker's `submit` from the first time on that something here captures; others never pay for it."""

    def __init__(self, session: UserSession) -> None:
        self._session = session
        self._submit = session.submit
        self._captured: dict[tuple[int, bytes], Template] = {}

    def submit(self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `Submitter.submit`."""
        if not template.definition.own_place:
            group = captured_group(self._session)
            if group:
                template = self._in_group(template, group)
        return self._submit(template, args, kwargs)

    def _in_group(self, template: Template, group: bytes) -> Template:
        found = self._captured.get((template.number, group))
        if found is None:
            key = template.key
            assert key is not None
            demand = pb.LeaseDemand(environment=key.message.environment, name=key.message.name)
            demand.resources.amounts.update(in_group(resources_from_proto(key.message.resources), group, -1))
            definition = pb.DefineTemplate()
            definition.CopyFrom(template.definition)
            definition.captures = group
            identity = demand.resources.SerializeToString(deterministic=True) + demand.environment
            found = self._session.task_template(
                identity,
                demand,
                definition,
                max_retries=template.max_retries,
                function_blob=template.function_blob,
            )
            self._captured[template.number, group] = found
        return found


def captured_group(session: Any) -> bytes:
    """The group that what runs here captures its children in; empty for none."""
    now = running.get()
    if now is not None and now.template is not None and now.template.definition.captures:
        return bytes(now.template.definition.captures)
    host = session.actor_host
    return bytes(host.spec.captures) if host is not None else b""
