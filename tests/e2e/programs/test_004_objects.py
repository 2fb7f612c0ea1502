"""Program 004, by each way to a cluster on Kubernetes."""

from tests.process.programs.test_004_objects import *  # noqa: F403
