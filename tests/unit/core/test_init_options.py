import math

import pytest

from manta.core.options.init import ARGUMENTS, HIDDEN, LEAST_OBJECT_STORE_BYTES, init_options, with_submitted_job


def test_init_without_arguments():
    options = init_options({})

    assert {name: getattr(options, name) for name in options.__slots__} == {
        "given": {},
        "address": None,
        "num_cpus": None,
        "num_gpus": None,
        "resources": {},
        "labels": {},
        "object_store_memory": None,
        "memory": None,
        "ignore_reinit_error": False,
        "include_dashboard": None,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": 8265,
        "configure_logging": True,
        "logging_level": 20,
        "logging_format": None,
        "log_to_driver": None,
        "namespace": None,
        "env_vars": (),
        "folders": (),
        "temp_dir": None,
        "node_name": None,
        "node_ip_address": None,
    }


def test_what_was_given_is_read():
    options = init_options(
        {
            "num_cpus": 4.0,
            "num_gpus": 0,
            "resources": {"x": 0.5},
            "object_store_memory": 10**9,
            "_memory": 5e9,
            "namespace": "n",
            "runtime_env": {"env_vars": {"B": "2", "A": "1"}},
            "log_to_driver": False,
            "logging_level": "ERROR",
            "_temp_dir": "/x",
        }
    )

    assert (options.num_cpus, options.num_gpus, options.resources) == (4, 0, {"x": 5_000})
    assert (options.object_store_memory, options.memory) == (10**9, 5 * 10**9)
    assert (options.namespace, options.env_vars) == ("n", (("A", "1"), ("B", "2")))
    assert (options.log_to_driver, options.logging_level, options.temp_dir) == (False, "ERROR", "/x")


def test_every_argument_may_be_none():
    assert init_options(dict.fromkeys([*ARGUMENTS, *HIDDEN])).given == {}


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"foo": 1}, RuntimeError, r"Unknown keyword argument\(s\): foo"),
        (
            {"num_cpu": 1, "x": 2},
            RuntimeError,
            r"Unknown keyword argument\(s\): num_cpu, x\. Did you mean 'num_cpus'\?",
        ),
        ({"storage": "s3"}, RuntimeError, "storage configuration has been removed"),
        ({"local_mode": True}, RuntimeError, "`local_mode` is no longer supported"),
        ({"num_cpus": -1}, ValueError, "num_cpus cannot be negative"),
        ({"num_cpus": 1.5}, ValueError, r"must all be whole numbers\. Violated by num_cpus=1\.5"),
        ({"num_cpus": "2"}, TypeError, "keyword 'num_cpus' must be"),
        ({"num_cpus": True}, TypeError, "keyword 'num_cpus' must be"),
        ({"num_cpus": math.nan}, ValueError, "num_cpus cannot be NaN"),
        ({"num_gpus": math.inf}, ValueError, "num_gpus cannot be larger"),
        ({"resources": {"CPU": 2}}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword"),
        ({"resources": {"x": -1}}, ValueError, "resource x cannot be negative"),
        ({"object_store_memory": 1}, ValueError, f"minimum allowed is {LEAST_OBJECT_STORE_BYTES} bytes"),
        ({"object_store_memory": "1e9"}, TypeError, "keyword 'object_store_memory'"),
        ({"object_store_memory": 2**60}, ValueError, "object_store_memory cannot be larger"),
        ({"_memory": -1}, ValueError, "_memory cannot be negative"),
        ({"address": 3}, TypeError, "keyword 'address'"),
        ({"namespace": ""}, ValueError, "'namespace' cannot be an empty string"),
        ({"dashboard_port": 70000}, ValueError, "between 0 and 65535"),
        ({"labels": {"a": 1}}, TypeError, "dict of strings to strings"),
        ({"runtime_env": {"envvars": {}}}, ValueError, "runtime_env has no field 'envvars'"),
        ({"log_to_driver": "no"}, TypeError, "keyword 'log_to_driver'"),
        (
            {"runtime_env": {"pip": ["x"]}},
            NotImplementedError,
            "'runtime_env' cannot be used yet.*working_dir, py_modules",
        ),
        ({"runtime_env": {"conda": "x"}}, NotImplementedError, "have packages installed"),
        ({"runtime_env": {"working_dir": "s3://b/x.zip"}}, ValueError, "remote packages are not built"),
        ({"runtime_env": {"working_dir": 5}}, TypeError, "working_dir"),
        ({"runtime_env": {"py_modules": "x"}}, TypeError, "must be a list"),
        ({"runtime_env": {"py_modules": [5]}}, TypeError, "packages, and holds 5"),
        ({"runtime_env": {"excludes": "x"}}, TypeError, "list of patterns"),
        ({"runtime_env": {"config": {"timeout": 5}}}, ValueError, "has no field 'timeout'"),
        ({"runtime_env": {"config": {"setup_timeout_seconds": 0}}}, ValueError, "greater than zero or equal to -1"),
        ({"runtime_env": {"config": {"setup_timeout_seconds": "1"}}}, TypeError, "must be of type int"),
        ({"runtime_env": {"config": {"eager_install": 1}}}, TypeError, "must be a boolean"),
        ({"runtime_env": {"env_vars": {"MANTA_RUNTIME_ENV_WORKING_DIR": "x"}}}, ValueError, "not for programs to set"),
        ({"logging_config": object()}, NotImplementedError, "'logging_config' cannot be used yet"),
        ({"enable_resource_isolation": True}, NotImplementedError, "'enable_resource_isolation' cannot be used yet"),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(given, kind, text):
    with pytest.raises(kind, match=text):
        init_options(given)


def test_an_existing_cluster_cannot_be_reshaped():
    joining = init_options({"num_cpus": 2, "_system_config": {"a": 1}, "namespace": "n"})

    with pytest.raises(
        ValueError, match="When connecting to an existing cluster, num_cpus, _system_config must not be"
    ):
        joining.refuse_cluster_shape()
    init_options({"namespace": "n", "address": "auto"}).refuse_cluster_shape()


def submitted(job, override=False, **arguments):
    return init_options(with_submitted_job(arguments, job, override=override))


def test_a_submitted_job_brings_its_environment_and_namespace():
    job = {"runtime_env": {"env_vars": {"A": "1"}}, "ray_namespace": "theirs", "metadata": {"job_submission_id": "x"}}
    options = submitted(job)
    assert (options.env_vars, options.namespace) == ((("A", "1"),), "theirs")
    options = submitted(job, runtime_env={"env_vars": {"B": "2"}}, namespace="mine")
    assert (options.env_vars, options.namespace) == ((("A", "1"), ("B", "2")), "mine")
    assert submitted({}).env_vars == submitted({"runtime_env": None, "metadata": None}).env_vars == ()


def test_a_variable_that_both_set_is_refused_unless_init_may_win():
    job = {"runtime_env": {"env_vars": {"A": "theirs"}}}
    with pytest.raises(ValueError, match=r"both say what A is.*RAY_OVERRIDE_JOB_RUNTIME_ENV=1"):
        submitted(job, runtime_env={"env_vars": {"A": "mine"}})
    assert submitted(job, override=True, runtime_env={"env_vars": {"A": "mine"}}).env_vars == (("A", "mine"),)


@pytest.mark.parametrize(
    "runtime_env", [5, [1], {"env_vars": [1]}, {"env_vars": {"A": 1}}, {"no_such_field": 1}, {"pip": ["x"]}]
)
@pytest.mark.parametrize("own", [{}, {"runtime_env": {"env_vars": {"B": "2"}}}])
def test_garbage_in_a_submitted_job_is_refused(runtime_env, own):
    with pytest.raises((TypeError, ValueError, NotImplementedError), match="runtime_env"):
        submitted({"runtime_env": runtime_env}, **own)


@pytest.mark.parametrize("size", [1e9, 10**9, 0.3 * 10**10 + 0.5])
def test_the_size_of_the_store_may_be_said_as_a_float(size):
    options = init_options({"object_store_memory": size})
    assert (options.object_store_memory, type(options.object_store_memory)) == (int(size), int)


@pytest.mark.parametrize("size", [float("nan"), float("inf"), -1e9, 1.5])
def test_a_store_that_is_no_number_of_bytes_is_refused(size):
    with pytest.raises(ValueError, match="object_store_memory"):
        init_options({"object_store_memory": size})


def test_levels_may_be_said_in_small_letters():
    assert init_options({"logging_level": "debug"}).logging_level == "DEBUG"
    assert init_options({"logging_level": 5}).logging_level == 5
