"""Every manifest of two clusters, as files. `python -m tests.unit.operator.builders.golden` writes them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders.children import applied
from manta_operator.builders.claims import claim
from manta_operator.builders.pods import head_pod, worker_pod
from tests.unit.operator.clusters import BUILD, FULL, cluster

FOLDER = Path(__file__).parent / "manifests"
CLUSTERS = {"minimal": cluster(), "full": cluster(*FULL)}


def manifests(parsed: MantaCluster) -> list[dict[str, Any]]:
    """All that a cluster is made of, but Secrets."""
    claimed = claim(parsed)
    workers = [worker_pod(parsed, group, 0, BUILD) for group in parsed.spec.worker_groups]
    return [*applied(parsed, BUILD), *([claimed] if claimed else []), head_pod(parsed, BUILD), *workers]


def text(parsed: MantaCluster) -> str:
    """The same as YAML."""
    dumped: str = yaml.safe_dump_all(manifests(parsed), sort_keys=False, default_flow_style=None, width=140)
    return dumped


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, parsed in CLUSTERS.items():
        (FOLDER / f"{name}.yaml").write_text(text(parsed))
