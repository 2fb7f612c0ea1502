"""A job's environment for a command that runs on another node than the head."""

from __future__ import annotations

import json

from manta.util.entrypoint import as_here


def test_uploads_become_the_folders_that_the_worker_has(tmp_path):
    (tmp_path / "one" / "mod").mkdir(parents=True)
    (tmp_path / "one" / "note.txt").touch()
    config = {
        "runtime_env": {"env_vars": {"A": "1"}, "working_dir": "/head/x.zip", "py_modules": ["/head/y.zip"]},
        "metadata": {},
    }
    found = json.loads(as_here(json.dumps(config), ["/here/x", str(tmp_path / "one"), "/else"]))
    assert found == {
        "runtime_env": {
            "env_vars": {"A": "1"},
            "working_dir": "/here/x",
            "py_modules": [str(tmp_path / "one" / "mod")],
        },
        "metadata": {},
    }
    plain = json.dumps({"runtime_env": {"env_vars": {}}})
    assert json.loads(as_here(plain, [""])) == json.loads(plain)
