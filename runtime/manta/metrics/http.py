"""What an HTTP request to a health or metrics port is answered. Pure: the head of a request in, a response out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from manta.core.errors import AuthenticationError
from manta.transport import auth
from manta.transport.hosts import is_known
from manta.transport.tokens import TokenFile, TokenRole

#: Bytes of a request's head: its line and headers. Nobody who scrapes needs more.
MOST_HEAD_BYTES: Final = 8 << 10
#: Headers in it.
MOST_HEADERS: Final = 64

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent back."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, with_body: bool = True) -> bytes:
        """As bytes; the connection ends with it."""
        lines = [
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "X-Content-Type-Options: nosniff",
            "Cache-Control: no-store",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (self.body if with_body else b"")


@dataclass(frozen=True, slots=True)
class Door:
    """Who is let in, and what is behind it.

    Attributes:
        metrics: Makes the text of /metrics.
        content_type: Its type.
        ready: Why the process is not ready; empty when it is.
        tokens: Valid tokens, or what says which they are now. None at all lets nobody see the metrics.
        private: The listener is a Unix socket that only its owner can reach: that is the credential.
        roles: Tokens with roles; a viewer's is enough.
        hosts: Names under which the port may be asked for, besides addresses and localhost.
        open_to_all: Nobody is asked for a token.
        remark: What a process that is ready has to say all the same; empty for nothing.
    """

    metrics: Callable[[], bytes]
    content_type: str
    ready: Callable[[], str]
    tokens: Sequence[str] | Callable[[], Sequence[str]] = ()
    private: bool = False
    hosts: Collection[str] = field(default_factory=tuple)
    roles: TokenFile | None = None
    open_to_all: bool = False
    remark: Callable[[], str] = str

    def answer(self, head: bytes) -> tuple[Response, bool]:
        """The response to a request's head, and whether its body is wanted too (not after HEAD)."""
        try:
            method, path, headers = parse(head)
        except ValueError as wrong:
            return Response(400, f"{wrong}\n".encode()), True
        with_body = method != "HEAD"
        return self._answer(method, path, headers), with_body

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> Response:
        if method not in ("GET", "HEAD"):
            return Response(405, b"only GET and HEAD\n", headers=(("Allow", "GET, HEAD"),))
        host = headers.get("host", "")
        if not self.private and not is_known(host, self.hosts):
            # A page in a browser that has our address under its own name (DNS rebinding) is stopped here.
            return Response(421, b"ask for this port by its address, or add the name to the allowed hosts\n")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") or "origin" in headers:
            return Response(403, b"requests of other sites' pages are not answered\n")
        match path.partition("?")[0]:
            case "/healthz":
                return Response(200, b"ok\n")
            case "/readyz":
                why = self.ready()
                if why:
                    return Response(503, f"{why}\n".encode())
                remark = self.remark()
                return Response(200, f"ok, but {remark}\n".encode() if remark else b"ok\n")
            case "/metrics":
                return self._metrics(headers)
        return Response(404, b"there is /healthz, /readyz and /metrics\n")

    def _metrics(self, headers: dict[str, str]) -> Response:
        if not self.private and not self.open_to_all:
            scheme, _, shown = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not self._may_look(shown.strip()):
                text = b"metrics want a viewer token: Authorization: Bearer ...\n"
                return Response(401, text, headers=(("WWW-Authenticate", 'Bearer realm="manta"'),))
        return Response(200, self.metrics(), self.content_type)

    def _may_look(self, shown: str) -> bool:
        if auth.accepts(self.tokens() if callable(self.tokens) else self.tokens, shown):
            return True
        try:
            return self.roles is not None and self.roles.role_of(shown) >= TokenRole.VIEWER
        except AuthenticationError:
            return False


def parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, path and headers (names in lower case) of a request's head.

    Raises:
        ValueError: It is no HTTP/1 request of ours; says why.
    """
    try:
        lines = head.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise ValueError("a request's head is ASCII") from None
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise ValueError("a request is METHOD /PATH HTTP/1.1")
    headers: dict[str, str] = {}
    given = [line for line in lines[1:] if line]
    if len(given) > MOST_HEADERS:
        raise ValueError(f"a request has at most {MOST_HEADERS} headers")
    for line in given:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip() or name in headers:
            # Twice the same name is one too many: two readers might believe different ones.
            raise ValueError("a header is NAME: VALUE, once")
        headers[name] = value.strip()
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise ValueError("no body is taken")
    return words[0], words[1], headers
