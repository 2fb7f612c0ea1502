"""`manta status`: nodes, resources, object store, workers, what waits, jobs, actors."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from manta.cli import asking, clusters, demand
from manta.cli.documents import written
from manta.cli.failures import SilentError
from manta.cli.screen import Screen, amount, bar, duration, harmless, size, wants_color
from manta.cli.tool import Tool
from manta.core.environment import env
from manta.core.errors import MantaError
from manta.core.resources import to_float, to_floats
from manta.rpc.v1 import control_pb2 as ctl

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: Rows of a list before the rest is only counted, unless asked for all.
_ROWS: Final = 20
#: Resources of which bytes are counted.
_BYTES: Final = ("memory", "object_store_memory")

_EXAMPLES: Final = """\
examples:
  manta status                      the newest cluster of yours on this machine
  manta status -o wide              with full ids, finished jobs and dead actors
  manta status -o json | jq .nodes  for programs; amounts are floats, sizes bytes
  manta status --address unix:/tmp/manta-1000/session_.../raylet-....sock
  manta status --address k8s://NAMESPACE/NAME     what control knows; workers and object stores are for those who ask inside

Exit code 3 means that there is no cluster, 1 that it does not answer (then try `manta stack`)."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "status",
        help="what a cluster has, does and waits for",
        description="What a cluster has, what it does, and what it waits for.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="a raylet's socket (default: the newest cluster), manta://HOST:PORT, or k8s://NAMESPACE/NAME",
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "wide", "json", "yaml"), default="text", help="default: text"
    )
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: on terminals")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Ask and print."""
    wanted = flags.address or env("ADDRESS") or ""
    if wanted.startswith(clusters.ELSEWHERE):
        facts = gather_outside(wanted)
    else:
        facts = gather(clusters.find(flags.address, "status"))
    if flags.output in ("json", "yaml"):
        sys.stdout.write(written(json.loads(json.dumps(facts, sort_keys=True)), flags.output))
    else:
        screen = Screen(color=wants_color(flags.color))
        render(facts, screen, wide=flags.output == "wide")
        sys.stdout.write(screen.text())
    return 0


# ---- asking


def gather(cluster: clusters.Cluster) -> dict[str, Any]:
    """Everything that the cluster says of itself, as plain JSON-able values.

    Raises:
        SilentError: Its raylet does not answer. Control's silence is only a problem among the facts.
    """
    problems: list[str] = []
    with Tool(cluster.raylet) as tool:
        here = tool.status()
        answers = _answers(tool.control, problems)
        name = tool.welcome.session_name
    rows = [_node(node, here, problems) for node in answers.nodes] or [_unlisted_node(here)]
    return {
        "session": name,
        "session_dir": cluster.session_dir,
        "address": cluster.address,
        "driver_pid": cluster.driver_pid or None,
        "metrics": dict(cluster.metrics),
        "services": here.get("services", {}),
        "uptime_s": round(cluster.age_s() or float(here.get("uptime_s", 0.0)), 1),
        **_facts(answers, rows),
        "problems": problems,
    }


def gather_outside(address: str) -> dict[str, Any]:
    """The same of a cluster that is reached through its gateway: what control knows. Nodes' own accounts stay there.

    Raises:
        MantaError: It cannot be reached, or does not let us in.
    """
    problems: list[str] = []
    with asking.control_of(address, "status") as control:
        answers = _answers(control, problems)
    rows = [_node(node, {}, problems) for node in answers.nodes]
    return {
        "session": address,
        "session_dir": None,
        "address": address,
        "driver_pid": None,
        "metrics": {},
        "services": {},
        "uptime_s": max((row["uptime_s"] or 0.0 for row in rows if row["head"]), default=0.0),
        **_facts(answers, rows),
        "problems": problems,
    }


@dataclass(slots=True)
class _Answers:
    """Control's; None for what it did not answer."""

    nodes: Sequence[ctl.NodeInfo] = ()
    jobs: Sequence[ctl.JobInfo] | None = None
    actors: ctl.ListActorsResponse | None = None
    demand: ctl.GetDemandResponse | None = None


def _answers(control: asking.Control, problems: list[str]) -> _Answers:
    nodes = _ask(control, "ListNodes", ctl.ListNodesRequest(), ctl.ListNodesResponse, problems)
    if nodes is None:
        # Whoever did not answer the first question is not waited for twice more.
        return _Answers()
    told = _ask(control, "GetStatistics", ctl.GetStatisticsRequest(), ctl.GetStatisticsResponse, problems)
    if told is not None and (problem := json.loads(told.json or "{}").get("problem")):
        problems.append(str(problem))
    jobs = _ask(control, "ListJobs", ctl.ListJobsRequest(), ctl.ListJobsResponse, problems)
    return _Answers(
        nodes.nodes,
        None if jobs is None else jobs.jobs,
        _ask(control, "ListActors", ctl.ListActorsRequest(), ctl.ListActorsResponse, problems),
        _ask(control, "GetDemand", ctl.GetDemandRequest(), ctl.GetDemandResponse, problems),
    )


def _facts(answers: _Answers, rows: list[dict[str, Any]]) -> dict[str, Any]:
    actors, wanted = answers.actors, answers.demand
    return {
        "nodes": rows,
        "resources": _sum(rows),
        "jobs": [_job(job) for job in answers.jobs or ()],
        "actors": [_actor(actor) for actor in (actors.actors if actors is not None else [])],
        "actors_total": actors.total if actors is not None else None,
        "demand": demand.facts(wanted.demand) if wanted is not None else None,
    }


def _ask(control: asking.Control, method: str, request: Message, reply: type[Any], problems: list[str]) -> Any:
    try:
        return control(method, request, reply)
    except (SilentError, MantaError) as failure:
        problems.append(f"control did not answer {method}: {failure}")
        return None


def _node(node: ctl.NodeInfo, here: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    alive = node.state == ctl.NODE_STATE_ALIVE
    own: Mapping[str, Any] = {}
    if node.node_id.hex() == here.get("node_id"):
        own = here
    elif here and alive and os.path.exists(node.channel_endpoint.removeprefix("unix:")):
        # On this machine; what nodes of others say, control knows.
        try:
            with Tool(node.channel_endpoint.removeprefix("unix:")) as other:
                own = other.status()
        except (SilentError, MantaError) as failure:
            problems.append(f"node {node.node_id.hex()[:8]}: {failure}")
    scheduler = own.get("scheduler", {})
    total = scheduler.get("total") or dict(node.total.amounts)
    free = scheduler.get("available") if scheduler else dict(node.available.amounts)
    return {
        "node_id": node.node_id.hex(),
        "name": node.name or node.host,
        "host": node.host,
        "state": ctl.NodeState.Name(node.state).removeprefix("NODE_STATE_"),
        "head": node.head,
        "pid": node.pid,
        "labels": dict(node.labels),
        "uptime_s": round(max(0.0, time.time() - node.started_unix_ms / 1000), 1) if alive else None,
        "death_reason": node.death_reason or None,
        "draining": node.drain.reason if alive and node.HasField("drain") else None,
        "resources": _resources(total, free or {}) if alive else {},
        "store": own.get("store"),
        "workers": scheduler.get("workers"),
        "demands": [_demand(one) for one in scheduler.get("demands", [])],
    }


def _unlisted_node(here: Mapping[str, Any]) -> dict[str, Any]:
    """The node that answered, while control did not."""
    scheduler = here["scheduler"]
    return {
        "node_id": here["node_id"],
        "name": here["node_ip"],
        "host": here["node_ip"],
        "state": "UNKNOWN",
        "head": None,
        "pid": here["pid"],
        "labels": {},
        "uptime_s": here["uptime_s"],
        "death_reason": None,
        "resources": _resources(scheduler["total"], scheduler["available"]),
        "store": here["store"],
        "workers": scheduler["workers"],
        "demands": [_demand(one) for one in scheduler["demands"]],
    }


def _resources(total: Mapping[str, int], free: Mapping[str, int]) -> dict[str, dict[str, float]]:
    return {
        name: {"total": to_float(most), "used": to_float(most - free.get(name, 0))}
        for name, most in sorted(total.items())
    }


def _demand(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": one["name"],
        "resources": to_floats(one["amounts"]),
        # The backlog is as old as the last demand, and counts those that have a worker by now.
        "waiting": max(0, max(one["backlog"], one["wanted"]) - one["held"]),
        "feasible": one["feasible"],
    }


def _sum(nodes: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    summed: dict[str, dict[str, float]] = {}
    for node in nodes:
        for name, one in node["resources"].items():
            row = summed.setdefault(name, {"total": 0.0, "used": 0.0})
            row["total"] += one["total"]
            row["used"] += one["used"]
    return summed


def _job(job: ctl.JobInfo) -> dict[str, Any]:
    return {
        "job_id": job.job_id.hex(),
        "state": ctl.JobState.Name(job.state).removeprefix("JOB_STATE_"),
        "namespace": job.namespace,
        "driver_pid": job.driver_pid,
        "entrypoint": job.entrypoint,
        "started_unix_ms": job.started_unix_ms,
        "ended_unix_ms": job.ended_unix_ms or None,
        "message": job.message or None,
    }


def _actor(actor: ctl.ActorInfo) -> dict[str, Any]:
    return {
        "actor_id": actor.actor_id.hex(),
        "job_id": actor.job_id.hex(),
        "class_name": actor.class_name,
        "name": actor.name or None,
        "namespace": actor.namespace,
        "state": ctl.ActorPhase.Name(actor.state).removeprefix("ACTOR_PHASE_"),
        "pid": actor.pid or None,
        "node_id": actor.node_id.hex() or None,
        "detached": actor.detached,
        "restarts": actor.num_restarts,
        "waiting_reason": actor.waiting_reason or None,
        "death_cause": actor.death_cause.message or None if actor.HasField("death_cause") else None,
    }


# ---- showing


def render(facts: Mapping[str, Any], screen: Screen, *, wide: bool) -> None:
    """The facts as text."""
    driver = f"   driver {facts['driver_pid']}" if facts["driver_pid"] else ""
    screen.heading(f"Cluster {facts['session']}", f"   up {duration(facts['uptime_s'])}{driver}")
    screen.line(f"  {screen.paint('dim', facts['address'])}")
    if wide:
        for process, address in facts["metrics"].items():
            screen.line(f"  {screen.paint('dim', f'metrics of {process} here: {harmless(address, 100)}/metrics')}")
        for name, kept in facts["services"].items():
            again = f", started again {kept['restarts']} times" if kept["restarts"] else ""
            told = f"{harmless(name, 40)}: pid {kept['pid'] or 'none'}{again}"
            screen.line(f"  {screen.paint('dim', told)}")
    for problem in facts["problems"]:
        screen.line(screen.paint("red", f"  {harmless(problem)}"))
    _render_nodes(facts["nodes"], screen, wide=wide)
    _render_resources(facts["resources"], screen, wide=wide)
    for node in facts["nodes"]:
        if node["store"]:
            many = len(facts["nodes"]) > 1
            _render_store(node["store"], screen, f" of node {node['node_id'][:8]}" if many else "", wide=wide)
    _render_workers(facts["nodes"], screen)
    wanted = facts.get("demand")
    if wanted is None or all(node["workers"] is not None for node in facts["nodes"] if node["state"] == "ALIVE"):
        # What all nodes have said themselves just now is newer than what control has heard.
        _render_demands(facts["nodes"], screen, wide=wide)
    else:
        demand.render_tasks(wanted["tasks"], screen, wide=wide)
    if wanted is not None:
        demand.render(wanted, screen, wide=wide)
    _render_jobs(facts["jobs"], screen, wide=wide)
    _render_actors(facts["actors"], screen, wide=wide)


def _render_nodes(nodes: list[dict[str, Any]], screen: Screen, *, wide: bool) -> None:
    alive = sum(node["state"] == "ALIVE" for node in nodes)
    dead = sum(node["state"] == "DEAD" for node in nodes)
    screen.heading("Nodes", f"   {_counted((alive, 'alive'), (dead, 'dead'), (len(nodes) - alive - dead, 'unknown'))}")
    rows = []
    for node in nodes:
        if node["state"] == "DEAD" and not wide:
            continue
        state = screen.paint("green" if node["state"] == "ALIVE" else "red", node["state"])
        if node.get("draining") is not None:
            state = screen.paint("yellow", "DRAINING")
        since = (
            f"up {duration(node['uptime_s'])}" if node["uptime_s"] is not None else harmless(node["death_reason"] or "")
        )
        rows.append(
            (
                node["node_id"] if wide else node["node_id"][:8],
                state,
                harmless(node["name"], 40),
                "head" if node["head"] else "",
                f"pid {node['pid']}",
                since,
            )
        )
    screen.table(rows)


def _render_resources(resources: Mapping[str, Mapping[str, float]], screen: Screen, *, wide: bool) -> None:
    screen.heading("Resources")
    rows = []
    for name, one in resources.items():
        if not wide and (name.startswith("node:") or name == "object_store_memory"):
            continue
        show: Callable[[float], str] = size if name in _BYTES else amount
        share = one["used"] / one["total"] if one["total"] else 0.0
        drawn = bar([("#", one["used"])], one["total"], 20)
        rows.append((harmless(name, 40), f"{show(one['used'])} of {show(one['total'])}", f"[{drawn}] {share:4.0%}"))
    screen.table(rows)


def _render_store(store: Mapping[str, int], screen: Screen, whose: str, *, wide: bool) -> None:
    capacity = store["capacity_bytes"]
    pinned = store["pinned_bytes"]
    # An object that is both being read and kept counts once, as pinned.
    kept = max(0, store["sealed_bytes"] - pinned - store["evictable_bytes"])
    parts = [
        ("#", "pinned", pinned),
        ("=", "kept", kept),
        ("+", "evictable", store["evictable_bytes"]),
        ("~", "being written", store["unsealed_bytes"]),
        ("-", "lent to writers", store["lent_bytes"]),
    ]
    used = sum(part for _, _, part in parts)
    share = used / capacity if capacity else 0.0
    screen.heading(
        f"Object store{whose}",
        f"   {size(used)} of {size(capacity)}   {store['objects']} {_plural(store['objects'], 'object')}",
    )
    style = "red" if share > 0.95 else "yellow" if share > 0.8 else "green"
    drawn = bar([(letter, part) for letter, _, part in parts], capacity, 40)
    screen.line(f"  [{screen.paint(style, drawn)}] {share:4.0%}")
    screen.line("  " + ", ".join(f"{letter} {name} {size(part)}" for letter, name, part in parts if part or wide))
    if store["waiting_creates"]:
        screen.line(
            screen.paint(
                "red", f"  {store['waiting_creates']} {_plural(store['waiting_creates'], 'creator')} wait for room"
            )
        )
    if wide:
        screen.line("  " + ", ".join(f"{name} {count}" for name, count in sorted(store.items())))


def _render_workers(nodes: list[dict[str, Any]], screen: Screen) -> None:
    if all(node["workers"] is None for node in nodes):
        return  # no node has told
    states: dict[str, int] = {}
    for node in nodes:
        for state, count in (node["workers"] or {}).items():
            states[state] = states.get(state, 0) + count
    screen.heading("Workers", f"   {_counted(*((count, state) for state, count in sorted(states.items())))}")


def _render_demands(nodes: list[dict[str, Any]], screen: Screen, *, wide: bool) -> None:
    waiting: dict[tuple[str, str, bool], int] = {}
    for node in nodes:
        for one in node["demands"]:
            if one["waiting"]:
                needs = ", ".join(f"{name} {amount(number)}" for name, number in sorted(one["resources"].items()))
                key = (one["name"], needs, one["feasible"])
                waiting[key] = waiting.get(key, 0) + one["waiting"]
    screen.heading("Waiting for a worker", "" if waiting else "   nothing")
    rows = []
    for (name, needs, feasible), count in sorted(waiting.items(), key=lambda item: (item[0][2], -item[1], item[0])):
        why = (
            ""
            if feasible
            else screen.paint("red", "no node can ever give that: ask for less, add a node, or cancel it")
        )
        rows.append((harmless(name, 60), f"{count} x", f"{{{needs}}}", why))
    _limited(rows, screen, wide=wide)


def _render_jobs(jobs: list[dict[str, Any]], screen: Screen, *, wide: bool) -> None:
    running = [job for job in jobs if job["state"] == "RUNNING"]
    screen.heading("Jobs", f"   {_counted((len(running), 'running'), (len(jobs) - len(running), 'over'))}")
    now = time.time()
    rows = []
    for job in jobs if wide else running:
        since = (job["ended_unix_ms"] / 1000 if job["ended_unix_ms"] else now) - job["started_unix_ms"] / 1000
        rows.append(
            (
                job["job_id"],
                screen.paint("green" if job["state"] == "RUNNING" else "dim", job["state"]),
                f"driver {job['driver_pid']}",
                duration(max(0.0, since)),
                harmless(job["entrypoint"], 400 if wide else 70),
            )
        )
    _limited(rows, screen, wide=wide)


def _render_actors(actors: list[dict[str, Any]], screen: Screen, *, wide: bool) -> None:
    states: dict[str, int] = {}
    for actor in actors:
        states[actor["state"]] = states.get(actor["state"], 0) + 1
    screen.heading("Actors", f"   {_counted(*((count, state.lower()) for state, count in sorted(states.items())))}")
    rows = []
    for actor in actors:
        if actor["state"] == "DEAD" and not wide:
            continue
        style = {"ALIVE": "green", "DEAD": "dim"}.get(actor["state"], "yellow")
        called = f"'{harmless(actor['name'], 40)}'" if actor["name"] else ""
        if wide and actor["namespace"]:
            called += f" in {harmless(actor['namespace'], 40)}"
        rows.append(
            (
                actor["actor_id"] if wide else actor["actor_id"][:8],
                screen.paint(style, actor["state"]),
                harmless(actor["class_name"], 40),
                called,
                f"pid {actor['pid']}" if actor["pid"] else "",
                f"{actor['restarts']} restarts" if actor["restarts"] else "",
                harmless(actor["waiting_reason"] or actor["death_cause"] or "", 400 if wide else 100),
            )
        )
    _limited(rows, screen, wide=wide)


def _limited(rows: Sequence[Sequence[str]], screen: Screen, *, wide: bool) -> None:
    shown = rows if wide else rows[:_ROWS]
    screen.table(shown)
    if len(rows) > len(shown):
        screen.line(f"  and {len(rows) - len(shown)} more (-o wide shows all)")


def _counted(*counts: tuple[int, str]) -> str:
    return ", ".join(f"{count} {name}" for count, name in counts if count) or "none"


def _plural(count: int, name: str) -> str:
    return name if count == 1 else f"{name}s"
