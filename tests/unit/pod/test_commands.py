"""Command lines of the servers: each is one that its server takes, and what a setting turns on or off is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from manta.core.capacity import Capacity
from manta.pod.commands import needed, supervisor, words
from manta.pod.places import Places
from manta.pod.settings import Role, Settings, read
from manta.transport import credentials

PLACES = Places(private="/private", run="/shared", state="/state", tmp="/scratch")
GIVEN = {
    "MANTA_POD_NAME": "demo-head", "MANTA_POD_UID": "0b9c", "MANTA_POD_IP": "10.0.0.7", "MANTA_CLUSTER_NAME": "demo",
    "MANTA_GROUP": "head", "MANTA_CONTROL": "127.0.0.1:7600", "MANTA_EXTRA_NAMES": "demo.example",
}  # fmt: skip


def settings(role: Role, **changes: str) -> Settings:
    return read(role, GIVEN | changes, lambda: Capacity(2, 4 << 30))


def value(line: list[str], flag: str) -> str:
    return line[line.index(flag) + 1]


def test_every_server_takes_its_command_line(tmp_path):
    """Parsed by the servers themselves: a flag that one of them does not know would end it."""
    from manta.control.__main__ import parse as control
    from manta.dashboard.__main__ import parse as dashboard
    from manta.gateway.__main__ import parse as gateway
    from manta.raylet.__main__ import parse as raylet

    places = replace(PLACES, private=str(tmp_path))
    credentials.make(places.credentials, "c1")
    parsers = {Role.CONTROL: control, Role.DASHBOARD: dashboard, Role.GATEWAY: gateway, Role.RAYLET: raylet}
    for role, parse in parsers.items():
        for changes in ({}, {"MANTA_AUTH": "none", "MANTA_TLS": "0", "MANTA_POD_IP": "fd00::7"}):
            module, *line = words(settings(role, **changes), places)
            assert module == f"manta.{role}"
            assert parse(line)


def test_a_supervisor_takes_its_command_line():
    """A dashboard that looks for one of its own finds it by the last word."""
    line = supervisor(settings(Role.RAYLET), PLACES, "job-1")

    assert line[0] == "manta.jobs.supervisor"
    assert line[-2:] == ["--id", "job-1"]
    assert Path(value(line, "--log")).parent == Path(value(line, "--session-dir")) / "logs"


def test_gateway_dashboard_and_raylet_share_a_folder_and_control_has_its_own():
    folders = {role: value(words(settings(role), PLACES), "--session-dir") for role in Role}

    assert len({folders[role] for role in (Role.GATEWAY, Role.DASHBOARD, Role.RAYLET)}) == 1
    assert folders[Role.GATEWAY].startswith("/shared/")
    assert folders[Role.CONTROL].startswith("/scratch/")
    assert value(words(settings(Role.CONTROL), PLACES), "--state-dir").startswith("/state/")


def test_a_long_name_leaves_room_for_the_paths_of_sockets():
    line = words(replace(settings(Role.RAYLET), cluster="c" * 200), Places())
    assert len(value(line, "--session-dir") + "/raylet-01234567-grpc.sock") <= 107


def test_ports_of_a_pod_differ():
    ports = [value(words(settings(role), PLACES), "--metrics-port") for role in Role]
    assert sorted(ports) == ["8090", "8091", "8092", "8093"]


def test_the_head_s_raylet_says_so_and_a_worker_s_does_not():
    worker = replace(settings(Role.RAYLET), group="cpu")
    assert "--head" in words(settings(Role.RAYLET), PLACES)
    assert "--head" not in words(worker, PLACES)


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.DASHBOARD])
def test_without_tls_and_tokens_a_door_is_told_so(role):
    usual = words(settings(role), PLACES)
    bare = words(settings(role, MANTA_AUTH="none", MANTA_TLS="0"), PLACES)

    assert {"--certificate", "--key", "--tokens", "--metrics-roles-file"} <= set(usual)
    assert not {"--plain", "--no-auth", "--metrics-no-auth"} & set(usual)
    assert {"--plain", "--no-auth", "--metrics-no-auth"} <= set(bare)
    assert not {"--certificate", "--key", "--metrics-roles-file"} & set(bare)
    # The gateway has nothing that is for administrators alone.
    assert ("--tokens" in bare) == (role is Role.DASHBOARD)


@pytest.mark.parametrize("role", list(Role))
def test_between_pods_tls_is_never_left_away(role):
    """Whoever reaches control or a door can run code: what the gateway asks for does not change that."""
    bare = words(settings(role, MANTA_AUTH="none", MANTA_TLS="0"), PLACES)
    if role is not Role.GATEWAY:
        assert value(bare, "--credentials") == PLACES.credentials
    if role in (Role.CONTROL, Role.RAYLET, Role.DASHBOARD):
        assert "join.token" in needed(settings(role, MANTA_TLS="0"))


def test_no_role_but_those_of_the_head_needs_more_than_a_worker_is_given():
    """A worker's Secret has neither an authority's key nor another role's."""
    assert set(needed(settings(Role.RAYLET))) == {
        "ca.crt", "cluster", "tokens", "worker.crt", "worker.key", "join.token"
    }  # fmt: skip
    assert not any("ca.key" in needed(settings(role)) for role in Role)
