"""The section about tasks and actor calls. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from manta.core.readable import duration
from manta.dashboard.pages.facts import Facts, Row
from manta.dashboard.pages.html import Html, join, short, state, table, tag
from manta.dashboard.pages.sections import SHORT, ago, clipped, counted, section

#: Tasks that have not ended, in the order of their life.
_UNDER_WAY: Final = ("RUNNING", "SUBMITTED_TO_WORKER", "PENDING_NODE_ASSIGNMENT", "PENDING_ARGS_AVAIL")
#: What a viewer of tasks is told instead of Ray's names.
_WORDS: Final = {
    "SUBMITTED_TO_WORKER": "with a worker",
    "PENDING_NODE_ASSIGNMENT": "wait for a worker",
    "PENDING_ARGS_AVAIL": "wait for arguments",
}


def tasks(facts: Facts, now: float) -> Html:
    """Counts, names, what is under way, what failed and why, what finished last."""
    states = Counter(row["state"] for row in facts.tasks)
    finished = sum(one["tasks"]["finished"] for one in facts.told.values())
    failed = sum(one["tasks"]["failed"] for one in facts.told.values())
    under_way = [row for row in facts.tasks if row["state"] in _UNDER_WAY]
    under_way.sort(key=lambda row: _UNDER_WAY.index(row["state"]))
    bad = [row for row in facts.tasks if row["state"] == "FAILED"]
    over = [row for row in facts.tasks if row["state"] == "FINISHED"]
    counts = counted(
        *((states[name], _WORDS.get(name, name.lower())) for name in _UNDER_WAY),
        (finished, "finished"),
        (failed, "failed"),
    )
    older = now - facts.tasks_at
    return section(
        "tasks",
        "Tasks and actor calls",
        counts,
        tag("p", f"As of {duration(older)} ago: there are many.", class_="note")
        if facts.tasks_at and older > 5
        else None,
        _by_name(facts.tasks),
        tag("h3", "Failed"),
        table(
            ("Task", "State", "Node", "Process", "Error", "When"),
            [[*_task(row), _error(row), ago(row["end_time_ms"], now, " ago")] for row in clipped(bad)],
            name="Failed tasks",
            empty="None that is remembered.",
            total=len(bad),
        ),
        tag("h3", "Under way"),
        table(
            ("Task", "State", "Node", "Process"),
            [_task(row) for row in clipped(under_way)],
            name="Tasks under way",
            empty="Nothing runs or waits.",
            total=len(under_way),
        ),
        tag("h3", "Finished last"),
        table(
            ("Task", "State", "Node", "Process", "Took", "When"),
            [[*_task(row), _took(row), ago(row["end_time_ms"], now, " ago")] for row in over[:10]],
            name="Tasks that finished last",
            empty="None that is remembered.",
            total=len(over),
        ),
    )


def _by_name(rows: Iterable[Row]) -> Html | None:
    """How many of each name are in which state, the busiest names first."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault(row["name"], Counter())[row["state"]] += 1
    if not found:
        return None
    ordered = sorted(
        found.items(), key=lambda item: (-sum(item[1][one] for one in _UNDER_WAY), -item[1]["FAILED"], item[0])
    )
    return table(
        ("Name", "Running", "Waiting", "Finished", "Failed"),
        [
            [
                tag("code", short(name)),
                str(states["RUNNING"]),
                str(sum(states[one] for one in _UNDER_WAY[1:])),
                str(states["FINISHED"]),
                str(states["FAILED"]),
            ]
            for name, states in clipped(ordered)
        ],
        name="Remembered tasks by name",
        empty="",
        total=len(ordered),
    )


def _task(row: Row) -> list[str]:
    attempt = f" attempt {row['attempt_number'] + 1}" if row["attempt_number"] else ""
    return [
        join(
            tag("code", short(row["name"])),
            tag("small", tag("span", row["task_id"][:16], title=row["task_id"]), attempt),
        ),
        state(row["state"], _WORDS.get(row["state"], "")),
        (row["node_id"] or "")[:SHORT],
        f"pid {row['worker_pid']}" if row["worker_pid"] else "",
    ]


def _error(row: Row) -> Html:
    """The first line; the rest is unfolded."""
    kind, text = short(row["error_type"] or "FAILED", 60), str(row["error_message"] or "").strip()
    lines = text.splitlines()
    if not lines:
        return join(kind)
    # What was raised is said last in a traceback.
    said = short(lines[-1], 160)
    if len(lines) == 1 and len(lines[0]) <= 160:
        return join(kind, ": ", said)
    named = f"error-{row['task_id']}-{row['attempt_number']}"
    return tag("details", tag("summary", kind, ": ", said), tag("pre", text[:4000]), id=named)


def _took(row: Row) -> str:
    begun, ended = row["start_time_ms"], row["end_time_ms"]
    if not begun or not ended:
        return ""
    return f"{ended - begun} ms" if ended - begun < 1000 else duration((ended - begun) / 1000)
