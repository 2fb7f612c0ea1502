"""What users and we test with: a cluster of several nodes on one machine, pytest fixtures, conformance checks. Shipped.

`manta.testing.Cluster` is `cluster.Cluster`; `pytest_plugin` is loaded by every pytest that finds Manta installed, so this
package imports nothing until it is used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.testing.cluster import Cluster, ClusterNode

__all__ = ["Cluster", "ClusterNode"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'manta.testing' has no attribute '{name}'")
    from manta.testing import cluster

    return getattr(cluster, name)
