"""Writes that are safe to repeat, and that nobody makes who does not lead.

Three kinds, each for what it is good for:

- `create`: for what exists once and must never change under anybody: pods, keys, tokens. The name is the lock: a second
  creator, be it a stale copy or a second instance, finds it taken and looks whose it is.
- `apply`: for what follows a wish: Services, policies, status. Server-side, so that others' fields stay theirs.
- `delete`: of exactly the object that was seen, in the version in which it was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manta_operator.kube.errors import ApiError
from manta_operator.kube.ownership import Taken, whose
from manta_operator.kube.resources import Key, Resource, key_of
from manta_operator.kube.transport import APPLY, MERGE, Transport

#: Owner of the fields that are applied.
MANAGER = "manta-operator"


@dataclass(frozen=True, slots=True)
class Created:
    """How a `create` ended.

    Attributes:
        obj: What has the name now.
        taken: None if it was created just now; else whose it is.
    """

    obj: dict[str, Any]
    taken: Taken | None

    @property
    def ours(self) -> bool:
        """Whether what was wanted is there."""
        return self.taken is None or self.taken is Taken.OURS


class Writer:
    """Writes of one instance.

    Args:
        transport: Whom to tell.
        fence: Called before each write with the seconds that it may take; raises NotLeaderError where this instance may not
            lead for that long.
        timeout_s: The most that one write may take.
    """

    def __init__(self, transport: Transport, fence: Callable[[float], None], *, timeout_s: float = 5.0) -> None:
        self._transport, self._fence, self._timeout_s = transport, fence, timeout_s
        #: How many writes were sent, and of how many the end is not known yet.
        self.writes = self.under_way = 0

    def fence(self) -> None:
        """Raise NotLeaderError unless this instance leads: for what the leader alone does, and is no write at the API server."""
        self._fence(self._timeout_s)

    async def create(self, resource: Resource, obj: dict[str, Any]) -> Created:
        """Create an object unless its name is taken.

        Raises:
            NotLeaderError: Nothing was sent.
            ApiError: It was refused.
            UnreachableError: It may have been created; doing the same again finds out.
        """
        key = key_of(obj)
        try:
            made = await self._write("POST", resource.path(key.namespace), _typed(resource, obj), strict=True)
            return Created(made, None)
        except ApiError as error:
            if not error.already_exists:
                raise
        existing = await self._transport.call("GET", resource.path_of(key), timeout_s=self._timeout_s)
        return Created(existing, whose(existing, obj))

    async def post(self, resource: Resource, obj: dict[str, Any]) -> bool:
        """Create an object whose name says what is in it. Returns whether it was not there before.

        Raises:
            NotLeaderError: Nothing was sent.
            ApiError: It was refused.
            UnreachableError: It may have been created; doing the same again finds out.
        """
        try:
            await self._write("POST", resource.path(key_of(obj).namespace), _typed(resource, obj), strict=True)
        except ApiError as error:
            if error.already_exists:
                return False
            raise
        return True

    async def check(self, resource: Resource, obj: dict[str, Any]) -> None:
        """Have the API server look at an object as if it were created, and make nothing.

        Raises:
            NotLeaderError: Nothing was sent.
            ApiError: It would be refused, with the server's words; that the name is taken is no refusal.
            UnreachableError: Nobody knows.
        """
        try:
            await self._write(
                "POST", resource.path(key_of(obj).namespace), _typed(resource, obj), strict=True, dry_run=True
            )
        except ApiError as error:
            if not error.already_exists:
                raise

    async def apply(
        self, resource: Resource, obj: dict[str, Any], *, uid: str = "", version: str = "", subresource: str = ""
    ) -> dict[str, Any]:
        """Have an object's fields be what is said, and those that were said before and are not any more be gone.

        Args:
            resource: Its kind.
            obj: The fields that this operator is for, with name and namespace.
            uid: Which object is meant; empty only for one that may have to be created. With it, an object that was deleted
                and made anew meanwhile is left alone, and never created.
            version: The resourceVersion that it must still have; empty if any will do.
            subresource: Such as status.

        Returns:
            The whole object.

        Raises:
            NotLeaderError: Nothing was sent.
            ApiError: It was refused; `conflict` if the object is another one by now.
            UnreachableError: It may have been applied; doing so again is the same.
        """
        body = _typed(resource, obj)
        meant = {**({"uid": uid} if uid else {}), **({"resourceVersion": version} if version else {})}
        if meant:
            body = {**body, "metadata": {**body["metadata"], **meant}}
        path = resource.path_of(key_of(obj), subresource)
        return await self._write("PATCH", path, body, strict=True, content_type=APPLY)

    async def overwrite(self, resource: Resource, obj: dict[str, Any], *, uid: str) -> dict[str, Any]:
        """Have an object's fields be what is said, lists as a whole: what others have put into those is gone.

        An `apply` merges lists, and so cannot help where somebody's item contradicts ours. It leaves the fields to nobody in
        particular: apply after it.

        Args:
            resource: Its kind.
            obj: The fields, with name and namespace.
            uid: Which object is meant.

        Raises:
            NotLeaderError: Nothing was sent.
            ApiError: It was refused; `conflict` if the object is another one by now.
            UnreachableError: It may have been done; doing so again is the same.
        """
        body = {**obj, "metadata": {**obj["metadata"], "uid": uid}}
        return await self._write("PATCH", resource.path_of(key_of(obj)), body, strict=True, content_type=MERGE)

    async def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        uid: str,
        version: str = "",
        grace_s: int | None = None,
        note: Callable[[dict[str, Any]], None] = lambda obj: None,
    ) -> bool:
        """Delete exactly the object that was seen.

        Args:
            resource: Its kind.
            key: Where it is.
            uid: Who it is.
            version: Its resourceVersion; empty if it may have changed since it was seen.
            grace_s: Seconds that a pod has to end; None for its own.
            note: Is told what the API server answers: the object as it goes, or that it is gone.

        Returns:
            Whether it is deleted, or being deleted. False if it is another object or another version by now.

        Raises:
            NotLeaderError: Nothing was sent.
            ApiError: It was refused.
            UnreachableError: It may have been deleted; doing so again is the same.
        """
        preconditions = {"uid": uid, **({"resourceVersion": version} if version else {})}
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        try:
            note(await self._write("DELETE", resource.path_of(key), body, strict=False))
        except ApiError as error:
            if error.not_found:
                return True
            if error.conflict:
                return False
            raise
        return True

    async def put_finalizers(
        self, resource: Resource, key: Key, finalizers: list[str], *, uid: str, version: str
    ) -> dict[str, Any]:
        """Have exactly the object that was seen, in the version in which it was seen, have these finalizers and no others.

        Not applied: who sets a finalizer takes it away again, even if somebody has copied it into a manifest since, which would
        make it theirs too.

        Returns:
            The whole object; when the last finalizer of one that is being deleted goes, it is no more.

        Raises:
            NotLeaderError: Nothing was sent.
            ApiError: It was refused; `conflict` if it is another version or object by now, `not_found` if it is gone.
            UnreachableError: It may have been done; doing so again shows.
        """
        body = {"metadata": {"uid": uid, "resourceVersion": version, "finalizers": finalizers}}
        return await self._write("PATCH", resource.path_of(key), body, strict=True, content_type=MERGE)

    async def _write(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        strict: bool,
        content_type: str = "application/json",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        self._fence(self._timeout_s)
        self.writes += 1
        self.under_way += 1
        # Strict: a field that does not exist is an error, and not dropped in silence.
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"} if strict else {}
        if content_type == APPLY:
            query["force"] = "true"
        if dry_run:
            query["dryRun"] = "All"
        try:
            return await self._transport.call(
                method, path, query=query, body=body, content_type=content_type, timeout_s=self._timeout_s
            )
        finally:
            self.under_way -= 1


def _typed(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
