"""`manta job`: submit a shell command to a cluster, look at it, stop it."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from manta.cli.documents import written
from manta.cli.screen import duration, harmless

_EXAMPLES: Final = """\
  manta job submit --address https://HOST:8265 --working-dir . -- python train.py
  manta job submit --address k8s://NAMESPACE/NAME --working-dir . -- python train.py
  manta job submit --no-wait --submission-id nightly-1 -- python train.py --epochs 3
  manta job submit --entrypoint-num-cpus 4 -- 'make data && python train.py'
  manta job status nightly-1 -o yaml
  manta job list -o wide
  manta job list -o json | jq -r '.[].submission_id'
  manta job logs -f nightly-1
  manta job stop nightly-1
  manta job delete nightly-1
"""
_ELSEWHERE: Final = """\
The token is that of MANTA_TOKEN or MANTA_TOKEN_FILE, the authority that of MANTA_CA_FILE, the address else that of
MANTA_API_SERVER_ADDRESS. A MantaCluster on Kubernetes is reached by the kubeconfig, and its Secret has token and authority.
`submit` follows the log and ends with 0 if the job succeeded, with 1 if it did not."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "job",
        help="submit jobs and look at them",
        description="Submit a shell command to a cluster, look at it, stop it.",
        epilog=f"examples:\n{_EXAMPLES}\n{_ELSEWHERE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    submit = _verb(verbs, "submit", "start a job", _submit)
    submit.add_argument("--submission-id", metavar="ID", help="its id: the same again is the same job")
    submit.add_argument("--working-dir", metavar="FOLDER", help="uploaded, and run in")
    submit.add_argument("--runtime-env-json", metavar="JSON", help='{"env_vars": {...}, "py_modules": [...]}')
    submit.add_argument("--metadata-json", metavar="JSON", help="an object of texts, kept with the job")
    for name, what in (("num-cpus", "CPUs"), ("num-gpus", "GPUs"), ("memory", "bytes of memory")):
        submit.add_argument(
            f"--entrypoint-{name}", type=float, metavar="N", help=f"{what} that it holds, on whatever node"
        )
    submit.add_argument("--entrypoint-resources", metavar="JSON", help="amounts of custom resources, by name")
    submit.add_argument(
        "--entrypoint-label-selector", metavar="JSON", help='labels of the node that it runs on, as {"zone": "in(a,b)"}'
    )
    submit.add_argument("--no-wait", action="store_true", help="do not follow its log")
    submit.add_argument("entrypoint", nargs="+", metavar="COMMAND", help="after --")
    for name, doc, act in (
        ("status", "how far a job is", _status),
        ("logs", "what it printed", _logs),
        ("stop", "ask it to stop", _stop),
        ("delete", "forget a job that is over", _delete),
    ):
        verb = _verb(verbs, name, doc, act)
        verb.add_argument("id", metavar="ID")
        if name == "logs":
            verb.add_argument("-f", "--follow", action="store_true", help="until it is over")
    _verb(verbs, "list", "all jobs", _list)
    parser.set_defaults(run=run)


def _verb(verbs: Any, name: str, doc: str, verb: Callable[[Any, argparse.Namespace], int]) -> argparse.ArgumentParser:
    mine = "\n".join(line for line in _EXAMPLES.splitlines() if line.startswith(f"  manta job {name} "))
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=doc,
        description=f"{doc[0].upper()}{doc[1:]}.",
        epilog=f"examples:\n{mine}\n\n{_ELSEWHERE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--address", metavar="URL", help="https://HOST:8265, or k8s://NAMESPACE/NAME")
    parser.add_argument(
        "-o", "--output", choices=("text", "wide", "json", "yaml"), default="text", help="default: text"
    )
    parser.set_defaults(act=verb)
    return parser


def run(flags: argparse.Namespace) -> int:
    """Do what the verb says."""
    from manta.jobs.client import JobSubmissionClient

    try:
        client = JobSubmissionClient(flags.address)
        try:
            code: int = flags.act(client, flags)
        finally:
            client.close()
    except (RuntimeError, ValueError, TypeError) as refused:
        print(f"manta job {flags.verb}: {refused}", file=sys.stderr)
        return 1
    except ConnectionError as away:
        print(f"manta job {flags.verb}: {away}", file=sys.stderr)
        return 3
    return code


def _submit(client: Any, flags: argparse.Namespace) -> int:
    environment = _object(flags.runtime_env_json, "--runtime-env-json")
    if flags.working_dir:
        environment["working_dir"] = flags.working_dir
    words = flags.entrypoint
    job_id = client.submit_job(
        entrypoint=words[0] if len(words) == 1 else shlex.join(words),
        submission_id=flags.submission_id,
        runtime_env=environment,
        metadata=_object(flags.metadata_json, "--metadata-json"),
        entrypoint_num_cpus=flags.entrypoint_num_cpus,
        entrypoint_num_gpus=flags.entrypoint_num_gpus,
        entrypoint_memory=flags.entrypoint_memory,
        entrypoint_resources=_object(flags.entrypoint_resources, "--entrypoint-resources") or None,
        entrypoint_label_selector=_object(flags.entrypoint_label_selector, "--entrypoint-label-selector") or None,
    )
    if flags.no_wait:
        _say({"submission_id": job_id}, flags.output, job_id)
        return 0
    print(f"Job {job_id} is submitted.", file=sys.stderr)
    asyncio.run(_follow(client, job_id))
    info = client.get_job_info(job_id)
    print(f"Job {job_id}: {info.status}. {harmless(info.message, 1000)}", file=sys.stderr)
    return 0 if info.status == "SUCCEEDED" else 1


def _status(client: Any, flags: argparse.Namespace) -> int:
    info = client.get_job_info(flags.id)
    _say(_plain(info), flags.output, f"{info.submission_id}: {info.status}. {harmless(info.message, 1000)}")
    return 0


def _logs(client: Any, flags: argparse.Namespace) -> int:
    if flags.follow:
        asyncio.run(_follow(client, flags.id))
    else:
        sys.stdout.write(client.get_job_logs(flags.id))
    return 0


def _stop(client: Any, flags: argparse.Namespace) -> int:
    stopped = client.stop_job(flags.id)
    _say({"stopped": stopped}, flags.output, "It will stop." if stopped else "It is over already.")
    return 0


def _delete(client: Any, flags: argparse.Namespace) -> int:
    _say({"deleted": client.delete_job(flags.id)}, flags.output, "It is forgotten; its log stays on the head.")
    return 0


def _list(client: Any, flags: argparse.Namespace) -> int:
    jobs = client.list_jobs()
    wide = flags.output == "wide"
    lines = [
        f"{job.submission_id:40} {job.status!s:10} {_rest(job) if wide else harmless(job.entrypoint, 80)}"
        for job in jobs
    ]
    _say([_plain(job) for job in jobs], flags.output, "\n".join(lines) or "There are no jobs.")
    return 0


def _rest(job: Any) -> str:
    """When it began and how long it ran, its exit code, the whole of its command and why it is as it is."""
    began = "-" if not job.start_time else time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(job.start_time / 1000))
    took = "-" if not job.start_time else duration((job.end_time or time.time() * 1000) / 1000 - job.start_time / 1000)
    code = "-" if job.driver_exit_code is None else job.driver_exit_code
    return f"{began:19} {took:>8} {code!s:>4} {harmless(job.entrypoint, 1000)}  ({harmless(job.message, 1000)})"


async def _follow(client: Any, job_id: str) -> None:
    async for text in client.tail_job_logs(job_id):
        sys.stdout.write(text)
        sys.stdout.flush()


def _plain(info: Any) -> dict[str, Any]:
    return {**vars(info), "status": str(info.status)}


def _say(value: Any, output: str, text: str) -> None:
    sys.stdout.write(f"{text}\n" if output in ("text", "wide") else written(value, output))


def _object(text: str | None, flag: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError as wrong:
        raise ValueError(f"{flag} is a JSON object, not {text!r:.200}: {wrong}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{flag} is a JSON object, not {text!r:.200}")  # noqa: TRY004 - as json.loads says it
    return value
