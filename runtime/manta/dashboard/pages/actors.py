"""Sections about actors and placement groups. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from manta.core.readable import amount
from manta.dashboard.pages.facts import Facts
from manta.dashboard.pages.html import Html, join, short, state, table, tag
from manta.dashboard.pages.sections import SHORT, clipped, counted, section


def actors(facts: Facts) -> Html:
    """Actors: those that wait first, the dead ones last."""
    states = Counter(row["state"] for row in facts.actors)
    ordered = sorted(facts.actors, key=lambda row: (row["state"] == "DEAD", row["state"] == "ALIVE"))
    return section(
        "actors",
        "Actors",
        counted(*((count, name.lower().replace("_", " ")) for name, count in sorted(states.items()))),
        table(
            ("Actor", "State", "Name", "Node", "Process", "Restarts", "Why"),
            [
                [
                    join(
                        tag("code", short(row["class_name"])),
                        tag("small", tag("span", row["actor_id"][:16], title=row["actor_id"])),
                    ),
                    state(row["state"]),
                    join(short(row["name"]), tag("small", short(row["ray_namespace"], 40)) if row["name"] else None),
                    (row["node_id"] or "")[:SHORT],
                    f"pid {row['pid']}" if row["pid"] else "",
                    str(row["num_restarts"]),
                    short(row["waiting_reason"] or row["death_cause"], 200),
                ]
                for row in clipped(ordered)
            ],
            name="Actors",
            empty="There are no actors.",
            total=max(facts.actors_total, len(ordered)),
        ),
    )


def groups(facts: Facts) -> Html:
    """Placement groups, if there are any."""
    if not facts.groups:
        return tag("section", id="groups", hidden=True)
    states = Counter(row["state"] for row in facts.groups)
    ordered = sorted(facts.groups, key=lambda row: (row["state"] == "REMOVED", row["state"] == "CREATED"))
    return section(
        "groups",
        "Placement groups",
        counted(*((count, name.lower()) for name, count in sorted(states.items()))),
        table(
            ("Group", "State", "Strategy", "Bundles", "Why"),
            [
                [
                    join(tag("code", row["placement_group_id"][:16]), " ", short(row["name"], 40)),
                    state(row["state"]),
                    row["strategy"].lower().replace("_", " "),
                    _bundles(row["bundles"]),
                    short(row["waiting_reason"], 200),
                ]
                for row in clipped(ordered)
            ],
            name="Placement groups",
            empty="",
            total=len(ordered),
        ),
    )


def _bundles(bundles: Sequence[Mapping[str, Any]]) -> str:
    asked = Counter(
        ", ".join(f"{name} {amount(one)}" for name, one in bundle["unit_resources"].items()) for bundle in bundles
    )
    return short("; ".join(f"{count} x {what}" for what, count in asked.items()), 200)
