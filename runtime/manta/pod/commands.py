"""The command line of a container's server. Pure: settings and places in, words out."""

from __future__ import annotations

import json
import os
from typing import Final

from manta.pod.places import Places
from manta.pod.settings import Role, Settings
from manta.transport.addresses import joined
from manta.transport.files import AUTHORITY, CLUSTER_FILE, JOIN_TOKEN, TOKENS

#: Ports of a pod. Its containers share one network: each is different.
CONTROL_PORT: Final = 7600
DOOR_PORT: Final = 7610
GATEWAY_PORT: Final = 7620
DASHBOARD_PORT: Final = 8265
METRICS_PORTS: Final = {Role.RAYLET: 8090, Role.CONTROL: 8091, Role.GATEWAY: 8092, Role.DASHBOARD: 8093}

#: In the session's folder: leads to the raylet that runs now, whichever it is.
RAYLET_LINK: Final = "raylet.sock"
#: And where the head's raylet container takes the dashboard's jobs.
JOBS_SOCKET: Final = "jobs.sock"


def words(settings: Settings, places: Places) -> list[str]:
    """What the role's server is started as, after `python -m`."""
    make = {
        Role.CONTROL: _control,
        Role.GATEWAY: _gateway,
        Role.DASHBOARD: _dashboard,
        Role.RAYLET: _raylet,
    }[settings.role]
    return [f"manta.{settings.role}", *make(settings, places), *_metrics(settings, places)]


def metrics_at(settings: Settings) -> tuple[str, int]:
    """Address and port of the role's health and metrics."""
    host, _ = _everywhere(settings, 1).rsplit(":", 1)
    return host.strip("[]"), METRICS_PORTS[settings.role]


def needed(settings: Settings) -> tuple[str, ...]:
    """Files that the Secret has to have."""
    common = (AUTHORITY, CLUSTER_FILE, TOKENS)
    match settings.role:
        case Role.CONTROL:
            return (*common, "control.crt", "control.key", JOIN_TOKEN)
        case Role.GATEWAY:
            # Its sessions dial other nodes as any process of this one does.
            own = () if settings.plain else ("gateway.crt", "gateway.key")
            return (*common, *own, "worker.crt", "worker.key")
        case Role.DASHBOARD:
            return (*common, "dashboard.crt", "dashboard.key", JOIN_TOKEN)
        case Role.RAYLET:
            return (*common, "worker.crt", "worker.key", JOIN_TOKEN)


def supervisor(settings: Settings, places: Places, job_id: str) -> list[str]:
    """What the supervisor of a submitted job is started as, after `python -m`. The id is the last word."""
    session = places.session(settings.cluster)
    return [
        "manta.jobs.supervisor", "--control", settings.control, "--credentials", places.credentials,
        "--session-dir", session, "--uploads", os.path.join(session, "packages"),
        "--log", os.path.join(session, "logs", f"job-driver-{job_id}.log"), "--id", job_id,
    ]  # fmt: skip


def _control(settings: Settings, places: Places) -> list[str]:
    return [
        "--session-dir", places.control_session(), "--state-dir", os.path.join(places.state, "control"),
        "--listen", _everywhere(settings, CONTROL_PORT), "--credentials", places.credentials, "--log-to-stderr",
    ]  # fmt: skip


def _gateway(settings: Settings, places: Places) -> list[str]:
    session = places.session(settings.cluster)
    return [
        "--session-dir", session, "--raylet", os.path.join(session, RAYLET_LINK),
        "--bind", _everywhere(settings, GATEWAY_PORT), *_secure("gateway", settings, places), *_who(settings, places),
    ]  # fmt: skip


def _dashboard(settings: Settings, places: Places) -> list[str]:
    session = places.session(settings.cluster)
    names = [word for name in settings.names for word in ("--host-name", name)]
    return [
        "--session-dir", session, "--control", settings.control, "--credentials", places.credentials,
        "--bind", _everywhere(settings, DASHBOARD_PORT), "--advertise", settings.names[0] if settings.names else settings.pod_ip,
        "--jobs-socket", os.path.join(session, JOBS_SOCKET), *names,
        *_secure("dashboard", settings, places), "--tokens", _tokens_file(places),
        *(["--no-auth"] if settings.open_to_all else []),
    ]  # fmt: skip


def _raylet(settings: Settings, places: Places) -> list[str]:
    return [
        "--session-dir", places.session(settings.cluster), "--control", settings.control,
        "--credentials", places.credentials, "--token-file", os.path.join(places.credentials, JOIN_TOKEN),
        "--door", _everywhere(settings, DOOR_PORT), "--node-ip", settings.pod_ip, "--node-name", settings.pod_name,
        "--num-cpus", str(settings.cpus), "--num-gpus", str(settings.gpus),
        "--memory", str(settings.memory_bytes), "--object-store-memory", str(settings.store_bytes),
        "--resources", json.dumps(dict(settings.resources)), "--labels", json.dumps(dict(settings.labels)),
        "--drain-grace", str(settings.grace_s), "--log-to-stderr", *(["--head"] if settings.head else []),
    ]  # fmt: skip


def _metrics(settings: Settings, places: Places) -> list[str]:
    host, port = metrics_at(settings)
    who = ["--metrics-no-auth"] if settings.open_to_all else ["--metrics-roles-file", _tokens_file(places)]
    return [
        "--metrics-host", host, "--metrics-port", str(port),
        "--metrics-name", settings.pod_name, *who,
    ]  # fmt: skip


def _everywhere(settings: Settings, port: int) -> str:
    # All addresses of the pod's kind: the kubelet and Prometheus come by the pod's, the head's own raylet by loopback.
    return joined("::" if ":" in settings.pod_ip else "0.0.0.0", port)  # noqa: S104


def _secure(role: str, settings: Settings, places: Places) -> list[str]:
    if settings.plain:
        return ["--plain"]
    own = os.path.join(places.credentials, role)
    return ["--certificate", f"{own}.crt", "--key", f"{own}.key"]


def _who(settings: Settings, places: Places) -> list[str]:
    return ["--no-auth"] if settings.open_to_all else ["--tokens", _tokens_file(places)]


def _tokens_file(places: Places) -> str:
    return os.path.join(places.credentials, TOKENS)
