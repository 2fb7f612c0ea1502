"""What a raylet and its workers are started with."""

from __future__ import annotations

import pytest

from manta.core.errors import ProtocolError, SettingError
from manta.raylet.__main__ import parse
from manta.raylet.admission import settings_of, variables_of
from manta.raylet.workers.pool import environment_of
from manta.raylet.workers.process import exit_text
from manta.rpc.v1 import channel_pb2 as pb

MINIMAL = ["--session-dir", "/tmp/s", "--control", "unix:/tmp/s/control.sock"]


def test_flags_become_fixed_point_resources():
    config, _, door = parse(
        [*MINIMAL, "--num-cpus", "1.5", "--num-gpus", "2", "--resources", '{"disk": 0.5}', "--memory", "100", "--head"]
    )

    assert door is None
    assert {
        "CPU": 15_000,
        "GPU": 20_000,
        "memory": 1_000_000,
        "object_store_memory": (1 << 30) * 10_000,
        "node:127.0.0.1": 10_000,
        "node:__internal_head__": 10_000,
        "disk": 5_000,
    } == config.resources
    assert 28 == len(config.node_id)


def test_gpus_are_named_as_the_environment_names_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-abc,5")

    assert ("3", "GPU-abc") == parse([*MINIMAL, "--num-gpus", "2"])[0].gpu_ids


def test_the_memory_threshold_comes_from_either_prefix_and_must_be_a_share(monkeypatch):
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.7")
    assert 0.7 == parse(MINIMAL)[0].memory_threshold
    monkeypatch.setenv("MANTA_memory_usage_threshold", "lots")
    with pytest.raises(SettingError, match="MANTA_memory_usage_threshold"):
        parse(MINIMAL)


@pytest.mark.parametrize(
    "bad",
    [b"nonsense", b"[]", b'{"env_vars": {"A": 1}}', b'{"env_vars": {"A=B": "x"}}', b'{"env_vars": {"A": "\\u0000"}}'],
)
def test_an_environment_that_is_none_is_refused(bad):
    with pytest.raises(ProtocolError, match="env_vars"):
        environment_of(bad)


def test_an_environment_sets_its_variables():
    assert {} == environment_of(b"")
    assert {"A": "1"} == environment_of(b'{"env_vars": {"A": "1"}}')


def test_a_job_gets_a_factory_of_its_own_only_for_variables_that_are_read_at_start():
    assert {} == variables_of(pb.JobConfig(env_vars={"COLOUR": "blue"}))
    wanted = {"COLOUR": "blue", "LD_PRELOAD": "x.so"}
    assert wanted == variables_of(pb.JobConfig(env_vars=wanted))


def test_a_job_configuration_that_is_not_ours_is_left_alone():
    assert pb.JobConfig(log_to_driver=True) == settings_of(b"\xff\xff")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-9, "killed by signal 9 (SIGKILL)"),
        (-40, "killed by signal 40"),
        (None, "the process ended, nobody saw how"),
    ],
)
def test_an_exit_status_is_put_in_words(status, text):
    assert text == exit_text(status)


def test_a_door_needs_certificates(capsys):
    with pytest.raises(SystemExit):
        parse([*MINIMAL, "--door", "0.0.0.0:7610"])
    assert "--door needs --credentials" in capsys.readouterr().err
