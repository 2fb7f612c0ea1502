"""Program 001, by each way to a cluster on Kubernetes."""

from tests.process.programs.test_001_tasks_tour import *  # noqa: F403
