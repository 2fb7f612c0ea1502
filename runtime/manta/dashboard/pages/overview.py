"""The overview: facts to HTML, a section per noun. Pure.

Each section has an id of its own: the page's script replaces those that changed.
"""

from __future__ import annotations

from manta.core.readable import amount, duration, size
from manta.dashboard.pages.actors import actors, groups
from manta.dashboard.pages.facts import Facts, Seen
from manta.dashboard.pages.html import Html, bar, join, short, tag
from manta.dashboard.pages.jobs import jobs, programs
from manta.dashboard.pages.nodes import nodes, resource, store_used, waiting
from manta.dashboard.pages.sections import MOST_ROWS, SHORT
from manta.dashboard.pages.tasks import tasks
from manta.rpc.v1 import control_pb2 as pb


def overview(seen: Seen, now: float) -> Html:
    """All sections."""
    facts = seen.facts
    if not facts.at:
        return join(away(seen, now))
    return join(
        away(seen, now),
        _notes(facts),
        _summary(facts),
        nodes(facts, now),
        waiting(facts),
        tasks(facts, now),
        actors(facts),
        groups(facts),
        jobs(facts, now),
        programs(facts, now),
    )


def away(seen: Seen, now: float) -> Html:
    """What is said when control does not answer; empty when it does."""
    if seen.away_since is None:
        return tag("section", id="away", hidden=True)
    below = f"What is below is {duration(now - seen.facts.at)} old." if seen.facts.at else "Nothing is known yet."
    return tag(
        "section",
        tag("p", tag("strong", f"Control does not answer since {duration(max(0.0, now - seen.away_since))}. "), below),
        tag("p", "Running tasks and actor calls go on without it. ", short(seen.why, 300), class_="note"),
        id="away",
        role="alert",
    )


def _notes(facts: Facts) -> Html:
    notes = [
        *(f"node {node_id[:SHORT]} says nothing of itself: {why}" for node_id, why in facts.silent.items()),
        *facts.notes,
    ]
    if not notes:
        return tag("section", id="notes", hidden=True)
    return tag(
        "section", tag("ul", *(tag("li", short(note, 300)) for note in notes[:MOST_ROWS])), id="notes", role="status"
    )


def _summary(facts: Facts) -> Html:
    told = list(facts.told.values())
    alive = [node for node in facts.nodes if node.state == pb.NODE_STATE_ALIVE]
    cpus = [resource(node, facts, "CPU") for node in alive]
    used_cpu, all_cpu = sum(used for used, _ in cpus), sum(most for _, most in cpus)
    memory = [one["memory"] for one in told if one.get("memory")]
    stores = [one["store"] for one in told]
    used, limit = sum(one["used"] for one in memory), sum(one["limit"] for one in memory)
    kept, room = sum(map(store_used, stores)), sum(one["capacity_bytes"] for one in stores)
    running = sum(row["state"] == "RUNNING" for row in facts.tasks)
    tiles = (
        ("Nodes", str(len(alive)), None),
        ("CPUs lent", f"{amount(used_cpu)} of {amount(all_cpu)}", bar(used_cpu, all_cpu, "", alarm=False)),
        ("Memory", f"{size(used)} of {size(limit)}", bar(used, limit, "")),
        ("Object store", f"{size(kept)} of {size(room)}", bar(kept, room, "")),
        ("Tasks running", str(running), None),
        ("Tasks failed", str(sum(one["tasks"]["failed"] for one in told)), None),
        ("Actors alive", str(sum(row["state"] == "ALIVE" for row in facts.actors)), None),
        ("Jobs running", str(sum(row["status"] == "RUNNING" for row in facts.jobs)), None),
    )
    return tag(
        "section",
        tag("dl", *(tag("div", tag("dt", name), tag("dd", text), drawn) for name, text, drawn in tiles)),
        id="summary",
        aria_label="Summary",
    )
