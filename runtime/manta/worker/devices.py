"""Which devices and how many threads a task's libraries may use."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Turn the setting of CUDA_VISIBLE_DEVICES off.
_NOSET = ("MANTA_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES", "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES")

_before: dict[str, str | None] = {}


def apply_devices(resources: Mapping[str, int], gpu_ids: Sequence[str]) -> None:
    """Set this process's environment for what its lease holds; what an earlier lease set is put back first."""
    for name, value in _before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _before.clear()
    if gpu_ids and not any(os.environ.get(name) in ("1", "true") for name in _NOSET):
        _set("CUDA_VISIBLE_DEVICES", ",".join(gpu_ids))
    if "OMP_NUM_THREADS" not in os.environ:
        _set("OMP_NUM_THREADS", str(max(1, resources.get("CPU", 0) // 10_000)))


def _set(name: str, value: str) -> None:
    _before[name] = os.environ.get(name)
    os.environ[name] = value
