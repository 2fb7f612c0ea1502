"""Program 002, by each way to a cluster on Kubernetes."""

from tests.process.programs.test_002_tasks import *  # noqa: F403
