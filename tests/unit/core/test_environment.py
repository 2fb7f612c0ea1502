import pytest

from manta.core.environment import VARIABLES, check_settings, default_max_retries, env, setting
from manta.exceptions import SettingError


def test_our_prefix_wins_over_rays():
    assert env("X", {"RAY_X": "ray"}) == "ray"
    assert env("X", {"RAY_X": "ray", "MANTA_X": "manta"}) == "manta"
    assert env("X", {"RAY_X": "ray", "MANTA_X": ""}) == ""
    assert env("X", {"X": "other"}) is None


def test_an_unset_or_empty_variable_is_its_default():
    assert setting("DEDUP_LOGS_AGG_WINDOW_S", {}) == 5.0
    assert setting("DEDUP_LOGS_AGG_WINDOW_S", {"RAY_DEDUP_LOGS_AGG_WINDOW_S": ""}) == 5.0
    assert setting("ADDRESS", {"RAY_ADDRESS": "1", "MANTA_ADDRESS": ""}) is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ADDRESS", "auto", "auto"),
        ("TASK_MAX_RETRIES", "-1", -1),
        ("LOG_TO_DRIVER", "0", False),
        ("LOG_TO_DRIVER", "True", True),
        ("COLOR_PREFIX", "off", False),
        ("DEDUP_LOGS_AGG_WINDOW_S", "0.5", 0.5),
        ("DEDUP_LOGS_SKIP_REGEX", "^x", "^x"),
        ("JOB_CONFIG_JSON_ENV_VAR", '{"metadata": {}}', {"metadata": {}}),
        ("memory_usage_threshold", "0.9", 0.9),
    ],
)
def test_values_are_typed(name, text, value):
    assert setting(name, {f"RAY_{name}": text}) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TASK_MAX_RETRIES", "abc"),
        ("TASK_MAX_RETRIES", "-5"),
        ("LOG_TO_DRIVER", "maybe"),
        ("DEDUP_LOGS_AGG_WINDOW_S", "nan"),
        ("DEDUP_LOGS_AGG_WINDOW_S", "-1"),
        ("DEDUP_LOGS_ALLOW_REGEX", "("),
        ("JOB_CONFIG_JSON_ENV_VAR", "[]"),
        ("JOB_CONFIG_JSON_ENV_VAR", "{"),
        ("memory_usage_threshold", "95"),
        ("memory_monitor_refresh_ms", "-1"),
    ],
)
def test_garbage_is_refused_with_its_name_and_what_would_be_right(name, text):
    with pytest.raises(SettingError) as refused:
        setting(name, {f"RAY_{name}": text})

    assert (refused.value.name, refused.value.value) == (f"RAY_{name}", text)
    assert VARIABLES[name].expected in str(refused.value)
    with pytest.raises(SettingError):
        check_settings({f"RAY_{name}": text})


def test_every_default_is_what_the_table_would_read():
    check_settings({})
    assert all(variable.doc and variable.expected for variable in VARIABLES.values())
    for name, variable in VARIABLES.items():
        if variable.default is not None:
            text = str(int(variable.default)) if isinstance(variable.default, bool) else str(variable.default)
            assert setting(name, {f"MANTA_{name}": text}) == variable.default


def test_the_number_of_retries_is_read_at_every_call(monkeypatch):
    monkeypatch.delenv("MANTA_TASK_MAX_RETRIES", raising=False)
    monkeypatch.delenv("RAY_TASK_MAX_RETRIES", raising=False)
    assert default_max_retries() == 3
    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "7")
    assert default_max_retries() == 7
    monkeypatch.setenv("MANTA_TASK_MAX_RETRIES", "0")
    assert default_max_retries() == 0
    monkeypatch.setenv("MANTA_TASK_MAX_RETRIES", "x")
    with pytest.raises(SettingError, match="MANTA_TASK_MAX_RETRIES='x': expected -1"):
        default_max_retries()
    monkeypatch.delenv("MANTA_TASK_MAX_RETRIES")
    assert default_max_retries() == 7
