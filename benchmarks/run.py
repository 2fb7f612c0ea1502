"""The benchmark's command line: `python -m benchmarks`.

Runs cell after cell (plan.py), one system at a time, everything else stopped; prints figures as they come and the table
at the end; writes JSON to benchmarks/results/<date>-<revision>.json. Exit code 0 when everything ran, 1 when a row of
Manta failed, 2 for a wrong argument. Whether goals are met does not change it: no test asserts a time, and no command.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

if __package__ in (
    None,
    "",
):  # run as a file: the repository goes where this folder was, else our plan.py hides somebody's plan
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import procs, report
from benchmarks.drive import ROOT, Result, Setting, environment, run_cell
from benchmarks.noise import barometer
from benchmarks.plan import Cell, plan
from benchmarks.rows import SYSTEMS, Row, RowsError, load, select
from benchmarks.timing import Budget

PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Manta beside Ray, Dask and ProcessPoolExecutor."
    )
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="PATTERN", help="names, groups or kinds; shell patterns"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often every cell runs (default 3)")
    parser.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: all that are installed"
    )
    parser.add_argument("--no-peers", action="store_true", help="Manta alone")
    parser.add_argument("--quick", action="store_true", help="short and small: does it run at all")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="length of one slice; a throughput row takes 4 of them (default 1)"
    )
    parser.add_argument(
        "--cpus", type=int, default=min(2, os.cpu_count() or 1), help="CPUs each system may use (default 2)"
    )
    parser.add_argument(
        "--quiet-wait",
        type=float,
        default=10.0,
        metavar="S",
        help="wait at most so long for others to be idle (default 10)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the JSON goes; - writes none")
    parser.add_argument(
        "--python", help="interpreter of all cells (default: the peers' if there is one, else this one)"
    )
    parser.add_argument("--list", action="store_true", help="print the rows and leave")
    asked = parser.parse_args(argv)
    if asked.rounds < 1 or asked.cpus < 1 or not asked.seconds > 0:
        parser.error("--rounds and --cpus are at least 1, --seconds is above 0")
    asked.systems = ["manta"] if asked.no_peers else list(dict.fromkeys(asked.systems))
    asked.python = asked.python or default_python(asked.systems)
    return asked


def default_python(systems: Sequence[str]) -> str:
    """One interpreter for every system: the peers' environment when peers run and there is one, else this."""
    return str(PEERS_PYTHON) if set(systems) & {"ray", "dask"} and PEERS_PYTHON.exists() else sys.executable


def main(argv: Sequence[str] | None = None) -> int:
    asked = arguments(argv)
    try:
        summary, all_rows = load()
        rows = select(all_rows, asked.rows)
    except RowsError as error:
        print(error, file=sys.stderr)
        return 2
    if asked.list:
        for row in rows:
            print(f"{row.name:22} {row.kind:10} {row.group:13} {' and '.join(map(str, row.goals)):32} {row.title}")
        return 0
    versions = installed(asked.python, asked.systems)
    systems = [name for name, version in versions.items() if version is not None]
    for name, version in versions.items():
        if version is None:
            print(f"{name} is not installed in {asked.python}: its rows are left out")
    if not systems:
        print("nothing to run", file=sys.stderr)
        return 2
    if systems == ["manta"]:
        print("Manta alone: no ratios, only goals that are plain figures are judged")

    budget = Budget(0.2, 0.2, 3) if asked.quick else Budget(asked.seconds, asked.seconds, 3)
    setting = Setting(asked.python, asked.cpus, budget, asked.quick)
    cells = plan(rows, systems, 1 if asked.quick else asked.rounds)
    machine = report.machine(versions, asked.python)
    print(
        f"{machine['cpu']}, {machine['cpus']} CPUs, Python {machine['python']}, {machine['revision']}; {len(cells)} cells"
    )
    results = measure(cells, {row.name: row for row in rows}, setting, 0.0 if asked.quick else asked.quiet_wait)
    print("\n" + report.table(summary, rows, results, quick=asked.quick))
    if results and str(asked.json) != "-" and (asked.json is not None or not asked.quick):
        path = asked.json or ROOT / "benchmarks" / "results" / f"{date.today().isoformat()}-{machine['revision']}.json"
        said = {name: getattr(asked, name) for name in ("rows", "rounds", "quick", "cpus", "seconds")}
        path.write_text(json.dumps(report.as_json(summary, rows, results, machine, said), indent=1) + "\n")
        print(f"\nwritten to {path}")
    return 1 if any(result.error is not None and result.system == "manta" for result in results) else 0


def measure(cells: Sequence[Cell], rows: Mapping[str, Row], setting: Setting, quiet_wait_s: float) -> list[Result]:
    """Run all cells and print figures as they come. Ctrl-C ends it early with what there is; nothing keeps running."""
    results: list[Result] = []
    procs.adopt_orphans()
    with barometer() as weather:
        try:
            for index, cell in enumerate(cells, 1):
                others = weather.wait_for_quiet(quiet_wait_s)
                note = f" (others use {others:.2f} cores)" if others >= 0.1 else ""
                print(f"[{index}/{len(cells)}] round {cell.round + 1}, {cell.group} on {cell.system}{note}", flush=True)
                for result in run_cell(cell, rows, setting, weather):
                    results.append(result)
                    print(f"    {result.row:22} {_shown(result, rows[result.row].unit)}", flush=True)
        except KeyboardInterrupt:
            print("\ninterrupted: what was measured so far follows")
        finally:
            procs.end_all(os.getpid(), [weather.echo_pid])
    return results


def _shown(result: Result, unit: str) -> str:
    return report.short(result.error) if result.value is None else f"{report.number(result.value)} {unit}"


def installed(python: str, systems: Sequence[str]) -> dict[str, str | None]:
    """Which systems that interpreter has, without importing any."""
    code = "import json, sys; from benchmarks.systems import version; print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
    done = subprocess.run(
        [python, "-c", code, *systems], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{python} can't run the benchmark: {done.stderr.strip()[-400:]}")
    versions: dict[str, str | None] = json.loads(done.stdout)
    return versions


if __name__ == "__main__":
    raise SystemExit(main())
