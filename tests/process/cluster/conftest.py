"""One cluster per module, left at rest by each of its tests (see tests/process/cluster/support.py)."""

from tests.process.cluster.support import base_temp, cluster, gate, ledger, module_cluster, started

__all__ = ["base_temp", "cluster", "gate", "ledger", "module_cluster", "started"]
