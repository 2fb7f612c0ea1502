"""Hears of pods as `kubectl get --watch` does: how long each took from the kubelet's word that it runs until it is ready."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.e2e.harness.cluster import Cluster


class Watch:
    """One namespace's pods of a component, from now on; a `with` block."""

    def __init__(self, kubernetes: Cluster, namespace: str, component: str) -> None:
        selector = f"app.kubernetes.io/component={component}"
        command = [
            kubernetes.kubectl_path, "--namespace", namespace, "get", "pods", "--watch", "--selector", selector, "--output=json",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=kubernetes.environment)
        #: By pod's UID: when it was first heard of, ran and was ready.
        self._heard: dict[str, dict[str, float]] = {}
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()

    def _hear(self) -> None:
        for pod in self._pods():
            now = time.monotonic()
            times = self._heard.setdefault(pod["metadata"]["uid"], {"known": now})
            status = pod.get("status", {})
            statuses = status.get("containerStatuses", ())
            if statuses and all("running" in one["state"] for one in statuses):
                times.setdefault("runs", now)
                if any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ())):
                    times.setdefault("ready", now)

    def _pods(self) -> Iterator[dict[str, Any]]:
        """kubectl prints one object after the other, each over many lines."""
        assert self._process.stdout is not None
        lines: list[str] = []
        for line in self._process.stdout:
            lines.append(line)
            if line == "}\n":
                yield json.loads("".join(lines))
                lines = []

    def times(self) -> list[dict[str, float]]:
        """Of each pod that got ready: seconds from its first word until it ran, and from there until it was ready."""
        return [
            {"to_running_s": one["runs"] - one["known"], "to_ready_s": one["ready"] - one["runs"]}
            for one in list(self._heard.values())
            if "ready" in one
        ]
