"""What the operator's variables say, and what follows where they say nothing. Pure: variables in, settings or one error out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from manta.core.capacity import STORE_SHARE, Capacity
from manta.core.errors import SettingError
from manta.core.labels import wrong_key

Value = TypeVar("Value")

#: Labels of a node by which the operator knows which pod it is.
UID_LABEL: Final = "manta.compute/pod-uid"
NAME_LABEL: Final = "manta.compute/pod-name"
GROUP_LABEL: Final = "manta.compute/group"
#: Group of the head pod.
HEAD: Final = "head"

#: What SIGTERM leaves to what runs, seconds, where nothing is said: a pod that says nothing of its own has 30.
_USUAL_GRACE_S: Final = 25.0
_LONGEST_GRACE_S: Final = 24 * 3600.0
_MIB: Final = 1 << 20
_NOT_SAID: Final = -1.0
_NO_LABELS: Final[Mapping[str, str]] = {}
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}")


class Role(StrEnum):
    """What a container is."""

    CONTROL = "control"
    GATEWAY = "gateway"
    DASHBOARD = "dashboard"
    RAYLET = "raylet"


@dataclass(frozen=True, slots=True)
class Settings:
    """One container.

    Attributes:
        role: What it is.
        pod_name: Of its pod; the node's name for people.
        pod_uid: Of its pod, which control's list of nodes is compared with.
        pod_ip: By which other pods reach it.
        cluster: The MantaCluster's name.
        group: Of the pod: a worker group's, or `head`.
        control: "host:port" where control is dialled; of no use in control's own container.
        cpus: That a raylet lends.
        gpus: That a raylet lends.
        memory_bytes: That tasks may ask for: what the container has, less the object store.
        store_bytes: Capacity of the object store.
        resources: Custom ones.
        labels: Of the node, those of the pod included.
        grace_s: What SIGTERM leaves to what runs, seconds.
        open_to_all: Nobody is asked for a token.
        plain: Gateway and dashboard speak without TLS. Between the pods it is never left away.
        names: Names under which the dashboard may be asked for.
    """

    role: Role
    pod_name: str
    pod_uid: str
    pod_ip: str
    cluster: str
    group: str
    control: str
    cpus: float
    gpus: float
    memory_bytes: int
    store_bytes: int
    resources: Mapping[str, float]
    labels: Mapping[str, str]
    grace_s: float
    open_to_all: bool
    plain: bool
    names: tuple[str, ...]

    @property
    def head(self) -> bool:
        """It is in the head's pod."""
        return self.group == HEAD


def read(role: Role, environ: Mapping[str, str], found: Callable[[], Capacity]) -> Settings:
    """Settings of a container.

    Args:
        role: What it is.
        environ: Its variables.
        found: What the container may use, for sizes that no variable gives.

    Raises:
        SettingError: A variable is missing or holds nonsense; names it and what would be right.
    """
    read = _Reader(environ)
    uid = read("MANTA_POD_UID", _text, "the pod's uid (metadata.uid)")
    name = read("MANTA_POD_NAME", _text, "the pod's name (metadata.name)")
    group = HEAD if role is not Role.RAYLET else read("MANTA_GROUP", _text, "the worker group's name, or 'head'")
    memory, store = _memory(read, found) if role is Role.RAYLET else (0, 0)
    labels = read("MANTA_NODE_LABELS", _labels, 'labels as a JSON object, like {"zone": "a"}', _NO_LABELS)
    return Settings(
        role=role,
        pod_name=name,
        pod_uid=uid,
        pod_ip=read("MANTA_POD_IP", _address, "the pod's address (status.podIP)"),
        cluster=read("MANTA_CLUSTER_NAME", _text, "the MantaCluster's name"),
        group=group,
        control="" if role is Role.CONTROL else read("MANTA_CONTROL", _control, "HOST:PORT of control"),
        cpus=_cpus(read, found) if role is Role.RAYLET else 0.0,
        gpus=read("MANTA_NODE_GPUS", _amount, "a number of GPUs", 0.0),
        memory_bytes=memory,
        store_bytes=store,
        resources=read("MANTA_NODE_RESOURCES", _amounts, 'custom resources as a JSON object, like {"disk": 1}', {}),
        labels={**labels, UID_LABEL: uid, NAME_LABEL: name, GROUP_LABEL: group},
        grace_s=read("MANTA_DRAIN_GRACE", _grace, "seconds, at most a day", _USUAL_GRACE_S),
        open_to_all=read("MANTA_AUTH", _one_of("token", "none"), "'token' or 'none'", "token") == "none",
        plain=read("MANTA_TLS", _one_of("1", "0"), "1 or 0", "1") == "0",
        names=read("MANTA_EXTRA_NAMES", _names, "host names with commas between them", ()),
    )


def _cpus(read: _Reader, found: Callable[[], Capacity]) -> float:
    # 0 is meant: a node that takes no tasks.
    said = read("MANTA_NODE_CPUS", _amount, "a number of CPUs, like 2 or 0.5", _NOT_SAID)
    return float(found().cpus) if said == _NOT_SAID else said


def _memory(read: _Reader, found: Callable[[], Capacity]) -> tuple[int, int]:
    """What tasks may ask for, and the object store's size: together no more than the container has."""
    whole = read("MANTA_NODE_MEMORY", _bytes, "bytes that the container may use", 0) or found().memory_bytes
    store = read("MANTA_OBJECT_STORE_BYTES", _bytes, "bytes of the object store", 0)
    if not store:
        store = max(_MIB, int(whole * STORE_SHARE) // _MIB * _MIB)
    if store >= whole:
        raise SettingError("MANTA_OBJECT_STORE_BYTES", str(store), f"less than the container's {whole} bytes of memory")
    return whole - store, store


class _Reader:
    """Reads variables, and says what is wrong with one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __call__(self, name: str, parse: Callable[[str], Value], expected: str, default: Value | None = None) -> Value:
        text = self._environ.get(name, "").strip()
        if not text:
            if default is None:
                raise SettingError(name, "", f"{expected}; the operator sets it")
            return default
        try:
            return parse(text)
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise SettingError(name, text, expected) from None


def _text(text: str) -> str:
    if not text.isprintable() or len(text) > 253:
        raise ValueError
    return text


def _address(text: str) -> str:
    import ipaddress

    return str(ipaddress.ip_address(text))


def _control(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536 or not _HOST.fullmatch(host.strip("[]")):
        raise ValueError
    return text


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError
    return value


def _bytes(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 60:
        raise ValueError
    return value


def _grace(text: str) -> float:
    value = float(text)
    if not 0 <= value <= _LONGEST_GRACE_S:
        raise ValueError
    return value


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError
    return value


def _amounts(text: str) -> Mapping[str, float]:
    found = _object(text)
    for amount in found.values():
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not math.isfinite(amount) or amount < 0:
            raise ValueError
    return found


def _labels(text: str) -> Mapping[str, str]:
    found = _object(text)
    for key, value in found.items():
        if wrong_key(key) is not None or not isinstance(value, str):
            raise ValueError
    return found


def _names(text: str) -> tuple[str, ...]:
    found = tuple(name.lower() for name in re.split(r"[,\s]+", text) if name)
    if not all(map(_HOST.fullmatch, found)):
        raise ValueError
    return found


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return parse
