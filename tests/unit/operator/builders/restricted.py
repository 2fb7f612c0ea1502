"""Kubernetes' restricted pod security standard, as far as what is in our pods could break it."""

from __future__ import annotations

from typing import Any

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def breaches(pod: dict[str, Any]) -> list[str]:
    """What the standard would refuse, in words."""
    spec, found = pod["spec"], []
    of_pod = spec.get("securityContext", {})
    if of_pod.get("runAsNonRoot") is not True or of_pod.get("runAsUser") == 0:
        found.append("may run as root")
    if of_pod.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("no seccomp profile")
    found += [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    for volume in spec["volumes"]:
        found += [f"volume {volume['name']}: {kind}" for kind in volume if kind != "name" and kind not in _VOLUMES]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            found.append(f"{container['name']} may get more privileges")
        if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
            found.append(f"{container['name']} keeps capabilities")
        found += [f"{container['name']}: hostPort" for port in container.get("ports", []) if "hostPort" in port]
    return found
