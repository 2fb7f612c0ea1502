"""Program 000, by each way to a cluster on Kubernetes."""

from tests.process.programs.test_000_remote_functions import *  # noqa: F403
