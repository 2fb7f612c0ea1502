"""Sections about submitted jobs, and programs that have joined. Pure."""

from __future__ import annotations

from collections import Counter

from manta.core.readable import duration
from manta.dashboard.pages.facts import Facts, Row
from manta.dashboard.pages.html import Html, short, state, table, tag
from manta.dashboard.pages.sections import ago, clipped, counted, section


def jobs(facts: Facts, now: float) -> Html:
    """Submitted jobs, the newest first."""
    states = Counter(row["status"] for row in facts.jobs)
    return section(
        "jobs",
        "Jobs",
        counted(*((count, name.lower()) for name, count in sorted(states.items()))),
        table(
            ("Job", "Status", "Command", "Began", "Took", "What is said"),
            [
                [
                    tag(
                        "a",
                        short(row["submission_id"]),
                        href=f"/jobs/{row['submission_id']}",
                        id=f"job-{row['submission_id']}",
                    ),
                    state(row["status"]),
                    tag("code", short(row["entrypoint"], 100)),
                    ago(row["start_time"], now, " ago"),
                    job_took(row, now),
                    short(row["message"], 160),
                ]
                for row in clipped(facts.jobs)
            ],
            name="Submitted jobs",
            empty="No job was submitted. `manta job submit -- python train.py` submits one.",
            total=max(facts.jobs_total, len(facts.jobs)),
        ),
    )


def job_took(row: Row, now: float) -> str:
    """How long a job ran, or runs."""
    if not row["start_time"]:
        return ""
    return duration(max(0.0, (row["end_time"] / 1000 if row["end_time"] else now) - row["start_time"] / 1000))


def programs(facts: Facts, now: float) -> Html:
    """Drivers, those that run first."""
    ordered = sorted(facts.drivers, key=lambda row: (row["status"] != "RUNNING", -(row["start_time"] or 0)))
    running = sum(row["status"] == "RUNNING" for row in facts.drivers)
    return section(
        "programs",
        "Programs",
        counted((running, "running"), (len(ordered) - running, "over")),
        table(
            ("Job id", "Status", "Command", "Process", "Began", "Took", "What is said"),
            [
                [
                    tag("code", row["job_id"]),
                    state(row["status"]),
                    tag("code", short(row["entrypoint"], 100)),
                    f"pid {row['driver_info']['pid']}",
                    ago(row["start_time"], now, " ago"),
                    job_took(row, now),
                    short(row["message"], 160),
                ]
                for row in clipped(ordered)
            ],
            name="Programs that have joined",
            empty="No program has joined.",
            total=len(ordered),
        ),
    )
