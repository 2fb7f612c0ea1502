"""Addresses of machines as people and messages write them: "host:port"."""

from __future__ import annotations


def parse_door(door: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port".

    Raises:
        ValueError: It is neither.
    """
    host, colon, port = door.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise ValueError(f"a node's address is HOST:PORT, not {door!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def parse_bind(text: str) -> tuple[str, int]:
    """Host and port to listen on; port 0 is any. Raises ValueError as `parse_door`."""
    if text.endswith(":0"):
        return parse_door(text[:-1] + "1")[0], 0
    return parse_door(text)


def joined(host: str, port: int) -> str:
    """The address of a port of a host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
