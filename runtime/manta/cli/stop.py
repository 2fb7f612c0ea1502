"""`manta stop`: end clusters on this machine, the processes, the memory and the folder, whatever their drivers do."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from dataclasses import asdict, dataclass
from typing import Final

from manta.api import embedded
from manta.cli import clusters, processes
from manta.cli.documents import written
from manta.cli.failures import NoClusterError
from manta.cli.screen import duration, harmless

#: How long processes may take to end by themselves before they are killed, seconds.
GRACE_S: Final = 5.0
#: How often processes of a session are looked for, should new ones appear meanwhile.
_ROUNDS: Final = 5

_EXAMPLES: Final = """\
examples:
  manta stop              end your cluster on this machine; if several run, they are listed and none is ended
  manta stop 4711         the one that the process 4711 started
  manta stop --all        all of them, and remove what dead ones left
  manta stop --address unix:/tmp/manta-1000/session_.../raylet-....sock

The driver itself goes on: what it waits for raises an error. Its process id is printed, should it have to end as well."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of one cluster."""

    session_dir: str
    #: Control, raylet and whatever else named the session's folder.
    ended: tuple[int, ...]
    #: Of those, the ones that had to be killed.
    killed: tuple[int, ...]
    #: Why something is left; "" if nothing is.
    left: str


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "stop",
        help="end what `manta start` began here, or an embedded cluster",
        description="End what `manta start` began on this machine, or a cluster whose driver hangs, and leave nothing of it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("driver", metavar="PID", nargs="?", type=int, help="process id of the cluster's driver")
    which.add_argument("--address", metavar="unix:PATH", help="its raylet's socket")
    which.add_argument("--all", action="store_true", help="every cluster of yours on this machine")
    parser.add_argument(
        "--grace", metavar="SECONDS", type=_seconds, default=GRACE_S, help=f"before killing (default: {GRACE_S:g})"
    )
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Stop, and say what was stopped."""
    running = clusters.running()
    if flags.all:
        chosen = [*running, *broken(running)]
    elif flags.address:
        chosen = [_of_ours(flags.address, running)]
    elif flags.driver is not None:
        chosen = [_started_by(flags.driver, running)]
    elif len(running) > 1:
        # Which one hangs is not ours to guess: the others may be hours into their work.
        _list(running)
        return 2
    else:
        chosen = running
    ended = []
    for cluster in chosen:
        ended.append(done := stop(cluster.session_dir, grace_s=flags.grace))
        if flags.output == "text":
            _say(done, cluster)
    failed = any(done.left for done in ended)
    if flags.output != "text":
        sys.stdout.write(written([asdict(done) for done in ended], flags.output))
        return 1 if failed else 0
    if not chosen:
        print("No cluster of yours runs on this machine: nothing to stop.")
    dead = [] if flags.all else broken(running)
    if dead:
        print(
            f"{len(dead)} dead {'one has' if len(dead) == 1 else 'ones have'} left something; `manta stop --all` removes it."
        )
    return 1 if failed else 0


def _list(running: list[clusters.Cluster]) -> None:
    print(f"{len(running)} clusters of yours run on this machine; say which:", file=sys.stderr)
    for cluster in running:
        if cluster.driver_pid:
            which, what = str(cluster.driver_pid), harmless(processes.command(cluster.driver_pid), 100)
        else:
            which, what = f"--address {cluster.address}", "begun by `manta start`"
        print(f"  manta stop {which}    up {duration(cluster.age_s())}, {what}", file=sys.stderr)
    print("  manta stop --all", file=sys.stderr)


def _started_by(pid: int, running: list[clusters.Cluster]) -> clusters.Cluster:
    found = next((cluster for cluster in running if cluster.driver_pid == pid), None)
    if found is None:
        drivers = ", ".join(str(cluster.driver_pid) for cluster in running) or "none"
        raise NoClusterError(f"Process {pid} is the driver of no cluster of yours; drivers are: {drivers}")
    return found


def _of_ours(address: str, running: list[clusters.Cluster]) -> clusters.Cluster:
    # Stopping removes a folder: only one that `init` made, never the folder of whatever socket was named.
    cluster = clusters.find(address, "stop")
    if cluster not in running:
        raise NoClusterError(
            f"{address} is no embedded cluster of yours; those are: "
            f"{', '.join(one.address for one in running) or 'none'}"
        )
    return cluster


def stop(session_dir: str, *, grace_s: float) -> Stopped:
    """End the processes of a session and remove its folder. Safe to repeat.

    Processes are found by the folder in their arguments, so that one that answers nobody is found all the same; workers end
    with their raylet.
    """
    pids: list[int] = []
    killed: list[int] = []
    # Raylets first, and at once: SIGTERM would drain one. One that lives starts control again when that ends.
    # Hence also a second look.
    for _ in range(_ROUNDS):
        left = processes.mine_with(session_dir)
        raylets = [pid for pid in left if "manta.raylet" in processes.arguments(pid)]
        if not left:
            break
        pids += left
        killed += processes.end(raylets, grace_s=grace_s, by=signal.SIGINT)
        killed += processes.end([pid for pid in left if pid not in raylets], grace_s=grace_s)
    pids = sorted(set(pids))
    left = [pid for pid in pids if processes.alive(pid)]
    shutil.rmtree(session_dir, ignore_errors=True)
    why = ""
    if left:
        why = f"still there: {', '.join(f'pid {pid}, {processes.glimpse(pid).told()}' for pid in left)}"
    elif os.path.exists(session_dir):
        why = f"{session_dir} cannot be removed"
    return Stopped(session_dir, tuple(pids), tuple(killed), why)


def broken(running: list[clusters.Cluster]) -> list[clusters.Cluster]:
    """Sessions that nobody can join and that are not just starting: what is left of clusters that were killed."""
    root = embedded.root()
    known = {cluster.session_dir for cluster in running}
    found = []
    for name in sorted(os.listdir(root)):
        folder = os.path.join(root, name)
        # The name ends in the driver's pid. While that lives, its cluster may be starting, or ending by itself.
        driver = name.rpartition("_")[2]
        if not name.startswith("session_") or not driver.isdigit() or not os.path.isdir(folder) or folder in known:
            continue
        if not processes.alive(int(driver)):
            found.append(clusters.Cluster("", folder, 0, os.stat(folder).st_mtime))
    return found


def _say(done: Stopped, cluster: clusters.Cluster) -> None:
    killed = f", {len(done.killed)} of them killed" if done.killed else ""
    print(
        f"Stopped {os.path.basename(done.session_dir)}, up {duration(cluster.age_s())}: "
        f"{len(done.ended)} processes ended ({', '.join(map(str, done.ended)) or 'none'}){killed}; its folder is removed."
    )
    if done.left:
        print(f"manta stop: {done.left}", file=sys.stderr)
    if cluster.driver_pid and processes.alive(cluster.driver_pid):
        what = processes.command(cluster.driver_pid)
        print(f"  Its driver goes on: pid {cluster.driver_pid}, {harmless(what, 100)}")


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"takes 0 to 3600 seconds, got {text}")
    return number
