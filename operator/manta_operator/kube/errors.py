"""What may come back instead of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: How much of a server's text an error carries.
_MESSAGE_LENGTH = 2000


class KubeError(Exception):
    """A request that did not do what it was for."""


class UnreachableError(KubeError):
    """No answer came. A write may have happened, or may still happen.

    Attributes:
        request: Its method and path.
        why: What the connection died of.
    """

    def __init__(self, request: str, why: str) -> None:
        self.request, self.why = request, why
        super().__init__(request, why)

    def __str__(self) -> str:
        return f"{self.request}: no answer from the API server: {self.why}"


class ApiError(KubeError):
    """The API server refused.

    Attributes:
        request: Method and path.
        status: The HTTP status.
        reason: The API's word for it, such as AlreadyExists; empty if it has none.
        message: Its words.
        retry_after_s: When to come again, if it said so.
    """

    def __init__(
        self, request: str, status: int, reason: str = "", message: str = "", retry_after_s: float | None = None
    ) -> None:
        self.request, self.status, self.reason, self.message = request, status, reason, message
        self.retry_after_s = retry_after_s
        super().__init__(request, status, reason, message, retry_after_s)

    def __str__(self) -> str:
        return f"{self.request}: {self.status} {self.reason}: {self.message}"

    @property
    def not_found(self) -> bool:
        """Whether there is no such object (or no such kind)."""
        return self.status == 404

    @property
    def already_exists(self) -> bool:
        """Whether the name is taken."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """Whether the object is no longer the one that was meant: another version, or another object of that name."""
        if self.status == 422:  # how an apply with the UID of a former object of that name is refused
            return "metadata.uid: Invalid value" in self.message and "field is immutable" in self.message
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def expired(self) -> bool:
        """Whether the version asked for is too old, so that everything has to be read again."""
        return self.status == 410

    @property
    def quota_exceeded(self) -> bool:
        """Whether a quota forbids one more; trying others of the kind is in vain too."""
        return self.status == 403 and "exceeded quota" in self.message

    @property
    def temporary(self) -> bool:
        """Whether the same request may do later: the server is busy, starting or ill."""
        return self.status == 429 or self.status >= 500


class NotLeaderError(KubeError):
    """A write was not made, as another instance may be leading by now."""

    def __str__(self) -> str:
        return "this instance does not lead, or cannot be sure that it still does: nothing was written"


def api_error(request: str, status: int, body: object, retry_after: str | None = None) -> ApiError:
    """The error that an answer is.

    Args:
        request: Method and path.
        status: The HTTP status, or the code of a Status object in a watch.
        body: What was answered: a Status object, if it is the API server that answers; a proxy may say anything.
        retry_after: The header.
    """
    said: Mapping[str, Any] = body if isinstance(body, Mapping) else {"message": body}
    delay = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    reason, message = str(said.get("reason") or ""), str(said.get("message") or "")
    return ApiError(request, status, reason[:100], message[:_MESSAGE_LENGTH], delay)
