"""Program 003, by each way to a cluster on Kubernetes."""

from tests.process.programs.test_003_actors import *  # noqa: F403
