"""What happened to an id, lately: a bounded diary that `story(id)` reads."""

from __future__ import annotations

from collections import deque


class Stories:
    """The last lines written about anything, each under one or more ids.

    Args:
        limit: Lines kept over all ids.
    """

    __slots__ = ("_lines",)

    def __init__(self, limit: int = 20_000) -> None:
        self._lines: deque[tuple[float, str, str, tuple[bytes, ...]]] = deque(maxlen=limit)

    def tell(self, at: float, cause: str, what: str, *ids: bytes) -> None:
        """Write one line: at monotonic second `at`, set off by `cause`."""
        self._lines.append((at, cause, what, ids))

    def story(self, about: bytes, limit: int = 100) -> list[str]:
        """The last lines about an id, oldest first."""
        lines: list[str] = []
        for at, cause, what, ids in reversed(self._lines):
            if about in ids:
                lines.append(f"{at:.6f} {what}" + (f" (cause {cause})" if cause else ""))
                if len(lines) == limit:
                    break
        return lines[::-1]

    def __len__(self) -> int:
        return len(self._lines)
