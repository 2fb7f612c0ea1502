"""What the environment says, and what a driver passes on to its workers by itself."""

from __future__ import annotations

import json
import resource

import pytest

from tests.process.semantics.support import manta_only, run_driver

pytestmark = pytest.mark.shared_cluster

CLUSTER = None  # the drivers below start their own

JOB = json.dumps({"runtime_env": {"env_vars": {"OF_THE_JOB": "yes"}}, "ray_namespace": "theirs"})

ENVIRONMENT_OF_A_TASK = """
    import os, ray
    ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": {"MINE": "too"}})
    print(ray.get(ray.remote(lambda: [os.environ.get(name) for name in ("OF_THE_JOB", "MINE")]).remote()))
    """


@pytest.mark.parametrize("prefix", [pytest.param("MANTA_", marks=manta_only("its own prefix")), "RAY_"])
def test_a_submitted_job_brings_its_environment(prefix: str, tmp_path):
    ended = run_driver(ENVIRONMENT_OF_A_TASK, tmp_path, **{f"{prefix}JOB_CONFIG_JSON_ENV_VAR": JOB})
    assert ended.lines == ["['yes', 'too']"], ended.stderr


def test_a_variable_that_the_job_and_init_both_set_is_refused(tmp_path):
    both = json.dumps({"runtime_env": {"env_vars": {"MINE": "theirs"}}})
    ended = run_driver(ENVIRONMENT_OF_A_TASK, tmp_path, RAY_JOB_CONFIG_JSON_ENV_VAR=both)
    assert "ValueError: Failed to merge the " in ended.stderr
    ended = run_driver(
        ENVIRONMENT_OF_A_TASK, tmp_path, RAY_JOB_CONFIG_JSON_ENV_VAR=both, RAY_OVERRIDE_JOB_RUNTIME_ENV="1"
    )
    assert ended.lines == ["[None, 'too']"], ended.stderr


@manta_only("Ray reads some of these as off and dies of others")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MANTA_DEDUP_LOGS", "maybe"),
        ("RAY_DEDUP_LOGS_SKIP_REGEX", "("),
        ("RAY_TASK_MAX_RETRIES", "many"),
        ("RAY_memory_usage_threshold", "95"),
        ("RAY_ENABLE_AUTO_CONNECT", "perhaps"),
        ("RAY_JOB_CONFIG_JSON_ENV_VAR", "{"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_before_anything_starts(name: str, text: str, tmp_path):
    code = """
        import os, subprocess, ray
        try:
            ray.init(num_cpus=1)
        except ValueError as error:
            print(error)
        print(ray.is_initialized(), open(f"/proc/self/task/{os.getpid()}/children").read().split())
        """
    ended = run_driver(code, tmp_path, **{name: text})
    assert ended.lines[0].startswith(f"{name}={text!r}: expected "), ended.stderr
    assert ended.lines[1:] == ["False []"]


def test_the_limit_of_open_files_is_raised_for_driver_and_workers(tmp_path):
    code = """
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        import ray
        ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        print(ray.get(ray.remote(lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]).remote()))
        """
    ended = run_driver(code, tmp_path)
    wanted = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert [int(line) >= wanted for line in ended.lines] == [True, True], (ended.lines, ended.stderr)


def test_a_module_beside_the_script_shadows_another_in_workers_too(tmp_path):
    """The driver's import path holds in its order: the script's folder comes before the standard library."""
    (tmp_path / "tabnanny.py").write_text("def whose():\n    return 'mine'\n")
    ended = run_driver(
        """
        import tabnanny, ray
        ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)
        print(tabnanny.whose(), ray.get(ray.remote(tabnanny.whose).remote()))
        """,
        tmp_path,
    )
    assert ended.lines == ["mine mine"], ended.stderr
