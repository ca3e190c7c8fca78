"""Pods as the API shows them, in the phases of a start."""

from __future__ import annotations

from typing import Any

CREATED = "2025-01-01T00:00:00Z"


def condition(kind: str, at: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": at}


def a_pod(
    *conditions: dict[str, str], state: dict[str, Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    status: dict[str, Any] = {"conditions": list(conditions)}
    if state is not None:
        status["containerStatuses"] = [{"name": "vllm", "state": state}]
    return {"metadata": {"name": "p", "creationTimestamp": CREATED, **metadata}, "status": status}


SCHEDULED = condition("PodScheduled", "2025-01-01T00:00:02Z")


RUNNING = {"running": {"startedAt": "2025-01-01T00:00:10Z"}}


READY = condition("Ready", "2025-01-01T00:01:10Z")


UNREADY = condition("Ready", "2025-01-01T00:00:02Z", "False")


def a_crashed_pod() -> dict[str, Any]:
    """One whose engine ended again and again."""
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    pod = a_pod(SCHEDULED, UNREADY, state=waiting, namespace="llm")
    ended = {"terminated": {"reason": "Error", "exitCode": 1}}
    pod["status"]["containerStatuses"][0] |= {"lastState": ended, "restartCount": 2}
    return pod
