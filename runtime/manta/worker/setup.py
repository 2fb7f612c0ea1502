"""What a fresh worker takes over from its job: import path, working directory, environment, output."""

from __future__ import annotations

import importlib
import json
import os
import sys

from manta.core.environment import PY_MODULES, WORKER_ENVIRONMENT, WORKING_DIR
from manta.rpc.v1 import channel_pb2 as pb
from manta.worker.logs import wrap_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.user import UserSession


def apply_job(session: UserSession) -> str:
    """Make this process look like its driver to the code it will run. Why that cannot be; empty when it does."""
    config = pb.JobConfig.FromString(session.welcome.job_config)
    os.environ.update(config.env_vars)
    added = os.environ.pop(WORKER_ENVIRONMENT, "")
    if added:
        session.environment = json.loads(added).get("env_vars") or {}
        os.environ.update(session.environment)
    if config.sys_path:
        # The driver's order too: what shadows another module there does so here.
        here = set(config.sys_path)
        sys.path[:] = [*config.sys_path, *(path for path in sys.path if path not in here)]
    if config.working_directory:
        try:
            os.chdir(config.working_directory)
        except OSError:
            pass  # another machine's folder
    if config.compat:
        # By name: the alias sits above everything else.
        importlib.import_module("manta.compat").install()
    wrong = ""
    if WORKING_DIR in os.environ or PY_MODULES in os.environ:
        from manta.worker.packages import set_up

        wrong = set_up(session, config.working_directory)
    wrap_output()
    return wrong
