"""Lines that workers print, shown on the driver."""

from __future__ import annotations

import re
import sys
import time

from manta.core.environment import setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.rpc.v1 import channel_pb2 as pb

CYAN, PINK, RESET = "\x1b[36m", "\x1b[35m", "\x1b[0m"

#: Most different lines remembered while looking for repetitions.
MAX_KEYS = 1000


class Dedup:
    """Shows lines that several processes print once, with a count.

    Only lines that are equal to the letter count as repeated, and only when they come from two or more processes within the
    window: a line that differs in a number says something else.
    """

    def __init__(self, window_s: float, allow: str | None, skip: str | None) -> None:
        self._window_s = window_s
        self._allow = re.compile(allow) if allow else None
        self._skip = re.compile(skip) if skip else None
        #: Line to (first seen, sources, repetitions not shown yet, how the last one was prefixed).
        self._seen: dict[str, tuple[float, set[int], int, str]] = {}

    def take(self, line: str, pid: int, prefix: str, now: float) -> bool:
        """Whether to show this line now."""
        if self._skip is not None and self._skip.search(line):
            return False
        if not line.strip() or line.isdigit() or (self._allow is not None and self._allow.search(line)):
            return True
        entry = self._seen.get(line)
        if entry is None:
            if len(self._seen) < MAX_KEYS:
                self._seen[line] = (now, {pid}, 0, prefix)
            return True
        since, sources, count, _ = entry
        if sources == {pid}:
            # One process repeating itself is that program's business.
            self._seen[line] = (now, sources, 0, prefix)
            return True
        sources.add(pid)
        self._seen[line] = (since, sources, count + 1, prefix)
        return False

    def due(self, now: float, *, all_of_them: bool = False) -> list[tuple[str, str]]:
        """(prefix, line) pairs that sum up what was held back and is due."""
        lines = []
        for line, (since, _sources, count, prefix) in list(self._seen.items()):
            if all_of_them or now - since >= self._window_s:
                del self._seen[line]
                if count == 1:
                    lines.append((prefix, line))
                elif count:
                    lines.append((prefix, f"{line} [repeated {count}x across cluster]"))
        return lines


class Printer:
    """Writes workers' lines to this process's stdout and stderr."""

    def __init__(self, node_ip: str) -> None:
        self._node_ip = node_ip
        self._color = setting("COLOR_PREFIX")
        self._plain = setting("DISABLE_WORKER_LOG_PREFIX")
        self._dedup: Dedup | None = None
        if setting("DEDUP_LOGS"):
            self._dedup = Dedup(
                setting("DEDUP_LOGS_AGG_WINDOW_S"), setting("DEDUP_LOGS_ALLOW_REGEX"), setting("DEDUP_LOGS_SKIP_REGEX")
            )

    def show(self, frame: pb.LogLines) -> None:
        """Print the lines of one frame."""
        stream = sys.stderr if frame.stderr else sys.stdout
        where = f", ip={frame.node_ip}" if frame.node_ip and frame.node_ip != self._node_ip else ""
        source = (
            "raylet" if frame.from_raylet else f"{frame.source + ' ' if frame.source else ''}pid={frame.pid}{where}"
        )
        prefix = "" if self._plain else f"({source}) "
        if prefix and self._color:
            prefix = f"{PINK if frame.from_raylet else CYAN}({source}){RESET} "
        now = time.monotonic()
        dedup = self._dedup
        shown = [
            f"{prefix}{line}\n" for line in frame.lines if dedup is None or dedup.take(line, frame.pid, prefix, now)
        ]
        if dedup is not None:
            shown.extend(f"{before}{line}\n" for before, line in dedup.due(now))
        self._write(stream, shown)

    def finish(self) -> None:
        """Print what was held back."""
        if self._dedup is not None:
            self._write(
                sys.stdout,
                [f"{before}{line}\n" for before, line in self._dedup.due(time.monotonic(), all_of_them=True)],
            )

    @staticmethod
    def _write(stream: object, lines: list[str]) -> None:
        if not lines:
            return
        text = "".join(lines)
        try:
            try:
                stream.write(text)  # type: ignore[attr-defined]
            except UnicodeEncodeError as narrow:
                # What this terminal cannot show is written out rather than lost with all around it.
                stream.write(text.encode(narrow.encoding, "backslashreplace").decode(narrow.encoding))  # type: ignore[attr-defined]
            stream.flush()  # type: ignore[attr-defined]
        except (OSError, ValueError, AttributeError):
            pass  # a closed or broken stdout is its owner's business
