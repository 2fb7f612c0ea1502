"""The table people read and the JSON that programs read. The JSON's shape is described in benchmarks/README.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import noise
from benchmarks.drive import ROOT, Result
from benchmarks.rows import SYSTEMS, Row, Summary
from benchmarks.stats import Spread, Total, Verdict, judge, spread, total

SCHEMA = 1
_CALIBRATION_UNITS = {"spin": "M loop turns/s", "ping_pong": "ping-pongs/s", "others_cores": "cores used by others"}


def verdicts(rows: Sequence[Row], results: Sequence[Result]) -> list[Verdict]:
    """One verdict per row, in the rows' order."""
    values: dict[str, dict[str, dict[int, float]]] = {row.name: {} for row in rows}
    for result in results:
        if result.value is not None:
            values[result.row].setdefault(result.system, {})[result.round] = result.value
    return [judge(row, values[row.name]) for row in rows]


def doubts(results: Sequence[Result]) -> dict[tuple[str, str, int], str]:
    """(row, system, round) -> why that figure deserves doubt."""
    spins = [spin for r in results if r.disturbance is not None for spin in r.disturbance.spin]
    usual = noise.usual(spins)
    found: dict[tuple[str, str, int], str] = {}
    for result in results:
        if result.disturbance is not None and (reason := noise.disturbed(result.disturbance, usual)):
            found[result.row, result.system, result.round] = reason
    return found


def table(summary: Summary, rows: Sequence[Row], results: Sequence[Result], *, quick: bool) -> str:
    """The whole report as text."""
    judged = verdicts(rows, results)
    shaken = doubts(results)
    systems = [system for system in SYSTEMS if any(result.system == system for result in results)]
    lines = [["row", "unit", *systems, "times better", "goal", ""]]
    for verdict in judged:
        row = verdict.row
        errors = {result.system for result in results if result.row == row.name and result.error is not None}
        cells = [_spread(verdict.spreads.get(system), system in errors) for system in systems]
        ratios = ", ".join(f"{_times(ratio)} {peer}" for peer, ratio in verdict.ratios.items())
        marks = " ".join(
            [
                {True: "met", False: "MISSED", None: "-"}[verdict.met],
                *(["close"] if any(goal.close for goal in verdict.goals) else []),
                *([f"~{','.join(verdict.unclear)}"] if verdict.unclear else []),
                *(["disturbed"] if any(name == row.name for name, _, _ in shaken) else []),
            ]
        )
        goal = " and ".join(str(goal) for goal in row.goals) + (" *" if row.decides else "")
        lines.append([row.name, row.unit, *cells, ratios or "-", goal, marks])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "-" * max(len(line) for line in text))
    text += ["", *_total_lines(summary, total(summary, judged)), *_error_lines(results), *_doubt_lines(shaken)]
    if weather := calibration(results):
        said = [f"{_spread(weather[name], False)} {unit}" for name, unit in _CALIBRATION_UNITS.items()]
        text += ["", f"calibration: {', '.join(said)}"]
    text += [
        "",
        "median (lowest-highest) over rounds; * decides; close: the spread crosses the goal;",
        "~peer: the difference is within the noise; disturbed: a round was taken while others used the machine",
    ]
    if quick:
        text.append("--quick: short and small. Shows that the rows run; judges nothing.")
    return "\n".join(text)


def as_json(
    summary: Summary,
    rows: Sequence[Row],
    results: Sequence[Result],
    machine: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything: raw results, judgement, machine."""
    judged = verdicts(rows, results)
    shaken = doubts(results)
    return {
        "schema": SCHEMA,
        "machine": dict(machine),
        "arguments": dict(arguments),
        "rows": [
            {
                "name": verdict.row.name,
                "title": verdict.row.title,
                "kind": verdict.row.kind,
                "unit": verdict.row.unit,
                "better": verdict.row.better,
                "decides": verdict.row.decides,
                "spreads": {system: asdict(value) for system, value in verdict.spreads.items()},
                "times_better": {peer: asdict(value) for peer, value in verdict.ratios.items()},
                "goals": [
                    {"goal": str(goal.goal), "reached": goal.reached, "met": goal.met, "close": goal.close}
                    for goal in verdict.goals
                ],
                "met": verdict.met,
                "unclear_against": list(verdict.unclear),
            }
            for verdict in judged
        ],
        "summary": asdict(total(summary, judged)),
        "calibration": {name: asdict(value) for name, value in calibration(results).items()},
        "results": [{**r.as_json(), "doubt": shaken.get((r.row, r.system, r.round))} for r in results],
    }


def machine(versions: Mapping[str, str | None], python: str) -> dict[str, Any]:
    """What the figures were taken on, with two limits no system can beat. No host name: it says nothing and tells too much."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "revision": revision(),
        "python": platform.python_version(),
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "memory_bytes": memory,
        "kernel": platform.release(),
        "copy_gb_per_s": noise.copy_gb_per_s(),
        "bare_interpreter_s": noise.bare_interpreter_s(python),
        "versions": dict(versions),
    }


def revision() -> str:
    """Short git revision, with `-dirty` when the tree differs from it; "unknown" outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def calibration(results: Sequence[Result]) -> dict[str, Spread]:
    """What the fixed loop and the ping-pong did over the whole run: how far two figures of it can be compared at all."""
    seen = [result.disturbance for result in results if result.disturbance is not None]
    if not seen:
        return {}
    return {
        "spin": spread([value for one in seen for value in one.spin]),
        "ping_pong": spread([value for one in seen for value in one.ping_pong]),
        "others_cores": spread([one.others_cores for one in seen]),
    }


def number(value: float) -> str:
    """Three digits that matter: 1,234,567  12,346  98.8  0.0123."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def short(error: str | None, most: int = 200) -> str:
    """One line of an error: its beginning, which says what happened, and its end, which says why."""
    text = " ".join((error or "").split())
    return text if len(text) <= most else f"{text[:60]} ... {text[-(most - 65) :]}"


def _spread(value: Spread | None, failed: bool) -> str:
    if value is None:
        return "error" if failed else "-"
    text = number(value.median)
    return text if value.low == value.high else f"{text} ({number(value.low)}-{number(value.high)})"


def _times(ratio: Spread) -> str:
    text = f"{number(ratio.median)}x"
    return text if ratio.low == ratio.high else f"{text} ({number(ratio.low)}-{number(ratio.high)})"


def _total_lines(summary: Summary, reached: Total) -> list[str]:
    if reached.geometric_mean is None or reached.lowest is None:
        return [f"{summary.kind} rows: nothing to compare (Manta or {summary.peer} has no figures)"]
    name, ratio = reached.lowest
    mark = {True: "met", False: "MISSED", None: "open"}[reached.met]
    mean = f"geometric mean {reached.geometric_mean:.2f}x {reached.peer} (goal {summary.geometric_mean:g})"
    lowest = f"lowest {ratio:.2f}x {name} (goal {summary.lowest:g})"
    lines = [f"{reached.rows} {summary.kind} rows: {mean}, {lowest}: {mark}"]
    if reached.missing:
        lines.append(f"without a ratio: {', '.join(reached.missing)}")
    return lines


def _error_lines(results: Sequence[Result]) -> list[str]:
    together: dict[tuple[str, int, str], list[str]] = {}
    for result in results:
        if result.error is not None:
            together.setdefault((result.system, result.round, short(result.error, 300)), []).append(result.row)
    errors = [f"  {system}, round {n + 1}: {text} ({', '.join(rows)})" for (system, n, text), rows in together.items()]
    return ["", "errors:", *errors] if errors else []


def _doubt_lines(shaken: Mapping[tuple[str, str, int], str]) -> list[str]:
    together: dict[tuple[str, int, str], list[str]] = {}
    for (row, system, number), reason in shaken.items():
        together.setdefault((system, number, reason), []).append(row)
    lines = [
        f"  {system}, round {n + 1}: {reason} ({', '.join(names)})" for (system, n, reason), names in together.items()
    ]
    return ["", "disturbed:", *lines] if lines else []


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
