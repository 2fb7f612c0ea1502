"""What ready workers have together, read from their pods: a pod of an old spec has what it has."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from manta_operator.api.cluster_status import Totals
from manta_operator.api.quantity import amount
from manta_operator.cluster.pods import Pod
from manta_operator.cluster.reading import part, parts, text
from manta_operator.kinds import RAYLET, STORE

_MI, _GI = Decimal(1 << 20), Decimal(1 << 30)


def totals(pods: Iterable[Pod]) -> Totals:
    """The sums over some pods."""
    cpu = memory = gpu = store = Decimal(0)
    for pod in pods:
        raylet = next((one for one in parts(pod.raw, "spec", "containers") if one.get("name") == RAYLET), {})
        has = {**part(raylet, "resources", "requests"), **part(raylet, "resources", "limits")}
        cpu += _amount(has.get("cpu"))
        memory += _amount(has.get("memory"))
        gpu += sum((_amount(value) for name, value in has.items() if name.endswith("/gpu")), Decimal(0))
        store += _amount(_variable(raylet, STORE))
    return Totals(
        cpu=shown(cpu), memory=shown_bytes(memory), gpu=shown(gpu) if gpu else None, object_store=shown_bytes(store)
    )


def shown(number: Decimal) -> str:
    """A number as Kubernetes writes it: whole, or in thousandths."""
    return str(int(number)) if number == int(number) else f"{int(number * 1000)}m"


def shown_bytes(number: Decimal) -> str:
    """Bytes as people read them: whole Gi, else Mi, rounded down."""
    if number and number % _GI == 0:
        return f"{int(number / _GI)}Gi"
    return f"{int(number / _MI)}Mi" if number >= _MI else str(int(number))


def _amount(value: object) -> Decimal:
    return _amount_of(str(value))


@functools.lru_cache(maxsize=1024)
def _amount_of(text: str) -> Decimal:
    """Pods of a group say the same, thousands of times."""
    try:
        return amount(text)
    except ValueError:
        return Decimal(0)


def _variable(container: Mapping[str, Any], name: str) -> str:
    return next((text(one, "value") for one in parts(container, "env") if one.get("name") == name), "")
