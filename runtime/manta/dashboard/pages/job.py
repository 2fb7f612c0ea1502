"""The page of one job: what is known of it, and the end of its log. Pure."""

from __future__ import annotations

import datetime
import json
from typing import Final

from manta.core.readable import duration, size
from manta.dashboard.pages.facts import Row
from manta.dashboard.pages.html import Html, join, short, state, tag
from manta.dashboard.pages.jobs import job_took
from manta.dashboard.pages.log_text import Piece

#: What is shown of an entrypoint, and of metadata.
_MOST: Final = 4000
_MOST_ENTRIES: Final = 50


def facts(row: Row, now: float) -> Html:
    """What is known, as a section that is replaced while the page is open."""
    metadata = list((row["metadata"] or {}).items())
    environment = row["runtime_env"] or {}
    told: list[tuple[str, str | None]] = [
        ("Status", state(row["status"])),
        ("What is said", str(row["message"] or "")[:_MOST]),
        ("Error", row["error_type"]),
        ("Exit code", None if row["driver_exit_code"] is None else str(row["driver_exit_code"])),
        ("Command", tag("code", str(row["entrypoint"])[:_MOST])),
        ("Submitted", _when(row["start_time"], now)),
        ("Ended", _when(row["end_time"], now)),
        ("Took", job_took(row, now)),
        ("Environment", tag("code", json.dumps(environment, ensure_ascii=False)[:_MOST]) if environment else None),
        *((f"Metadata: {short(name)}", str(text)[:_MOST]) for name, text in metadata[:_MOST_ENTRIES]),
    ]
    if len(metadata) > _MOST_ENTRIES:
        told.append(("Metadata", f"{_MOST_ENTRIES} of {len(metadata)} shown"))
    return tag(
        "section",
        tag("dl", *(join(tag("dt", name), tag("dd", text)) for name, text in told if text), class_="facts"),
        id="job",
        aria_label="About the job",
    )


def page(row: Row, log: Piece, begin: int, now: float, *, over: bool) -> Html:
    """The whole page.

    Args:
        row: The job.
        log: The end of its log.
        begin: Where in the log that end begins, bytes.
        now: Unix seconds.
        over: Nothing more will be written.
    """
    job_id = str(row["submission_id"])
    before = (
        tag("p", f"The first {size(begin)} are left out; `manta job logs {job_id}` prints all.", class_="note")
        if begin
        else None
    )
    return join(
        tag("h1", "Job ", tag("code", job_id)),
        facts(row, now),
        tag("h2", "Log", id="log-title"),
        before,
        tag(
            "pre",
            log.text,
            id="log",
            tabindex=0,
            role="region",
            aria_labelledby="log-title",
            data_path=f"/jobs/{job_id}/log",
            data_next=log.next,
            data_over="true" if over else "false",
        ),
        tag("p", "Nothing has been printed yet." if not over else "Nothing was printed.", class_="note")
        if not log.text and not log.next
        else None,
    )


def _when(unix_ms: int | None, now: float) -> str | None:
    if not unix_ms:
        return None
    told = datetime.datetime.fromtimestamp(unix_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{told} ({duration(max(0.0, now - unix_ms / 1000))} ago)"
