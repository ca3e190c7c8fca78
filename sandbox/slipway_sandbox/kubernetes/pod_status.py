"""The word `kubectl get pods` shows for a pod. Source: printPod in k8s.io/kubernetes printers.go (1.32)."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes.store import Object


def _statuses(pod: Object, kind: str = "containerStatuses") -> list[Object]:
    found: list[Object] = (pod.get("status") or {}).get(kind) or []
    return found


def ready_count(pod: Object) -> tuple[int, int]:
    """(ready containers, all containers)."""
    return sum(bool(c.get("ready")) for c in _statuses(pod)), len(pod["spec"]["containers"])


def restarts(pod: Object) -> str:
    """How often the pod's containers were started again."""
    return str(sum(c.get("restartCount", 0) for c in _statuses(pod)))


def reason(pod: Object) -> str:
    """Running, Completed, CrashLoopBackOff, Init:0/1, Terminating …"""
    status: Any = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    word = _init_reason(pod) or _containers_reason(pod)
    return str(word or status.get("reason") or status.get("phase") or "Unknown")


def _init_reason(pod: Object) -> str:
    total = len(pod["spec"].get("initContainers") or [])
    for index, container in enumerate(_statuses(pod, "initContainerStatuses")):
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if terminated is not None:
            return f"Init:{_ended(terminated)}"
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{total}"
    return ""


def _containers_reason(pod: Object) -> str:
    for container in _statuses(pod):
        state = container.get("state") or {}
        if waiting := (state.get("waiting") or {}).get("reason"):
            return str(waiting)
        if state.get("terminated") is not None:
            return _ended(state["terminated"])
    return ""


def _ended(terminated: Object) -> str:
    return str(terminated.get("reason") or f"ExitCode:{terminated.get('exitCode', 0)}")
