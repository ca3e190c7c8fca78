"""The one word `kubectl get pods` shows for a pod. Source: printPod in k8s.io/kubernetes printers.go (1.32)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway_sandbox.kubernetes.store import Object


def _statuses(pod: Object, kind: str = "containerStatuses") -> list[Object]:
    found: list[Object] = (pod.get("status") or {}).get(kind) or []
    return found


def ready_count(pod: Object) -> tuple[int, int]:
    return sum(bool(c.get("ready")) for c in _statuses(pod)), len(pod["spec"]["containers"])


def restarts(pod: Object, age_of: Callable[[str], str]) -> str:
    """`3 (20s ago)`: how often, and when last."""
    count = sum(c.get("restartCount", 0) for c in _statuses(pod))
    ended = [((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for c in _statuses(pod)]
    last = max(filter(None, ended), default="")
    return f"{count} ({age_of(last)} ago)" if count and last else str(count)


def reason(pod: Object) -> str:
    """Running, Completed, CrashLoopBackOff, Init:0/1, Terminating …"""
    status: Any = pod.get("status") or {}
    word = status.get("reason") or status.get("phase") or "Unknown"
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            word = "SchedulingGated"
    initializing, initial = _init_reason(pod)
    word = initial if initializing else _containers_reason(pod, word)
    if pod["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(word)


def _init_reason(pod: Object) -> tuple[bool, str]:
    total = len(pod["spec"].get("initContainers") or [])
    for index, container in enumerate(_statuses(pod, "initContainerStatuses")):
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if terminated is not None:
            return True, "Init:" + _ended(terminated)
        if waiting and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return True, f"Init:{waiting['reason']}"
        return True, f"Init:{index}/{total}"
    return False, ""


def _containers_reason(pod: Object, word: str) -> str:
    running = False
    for container in reversed(_statuses(pod)):
        state = container.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            word = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            word = _ended(state["terminated"])
        elif container.get("ready") and state.get("running") is not None:
            running = True
    if word == "Completed" and running:
        conditions = (pod.get("status") or {}).get("conditions") or []
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return "Running" if ready else "NotReady"
    return word


def _ended(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"
