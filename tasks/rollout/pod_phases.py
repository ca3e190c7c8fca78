"""Name the phase that a release's pods are in, from their conditions, events and logs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.records.names import RELEASE_ANNOTATION, VLLM
from tasks.rollout.explain import PodEvidence
from tasks.rollout.start_phases import LOADING, loading_phase

PHASES = ("unscheduled", "image or volume", "loading", "ready")
WAITS = ("waiting for its volume", "pulling its image", "creating its container")


def selector_of(deployment: Mapping[str, Any] | None) -> str:
    """The label selector of a Deployment's pods; that of all serving pods where it does not exist."""
    labels = (objects.spec(deployment).get("selector") or {}).get("matchLabels") or {"app": VLLM}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def release_pods(pods: Sequence[Object], release_id: str) -> list[Object]:
    """The pods of one release that live and are not terminating."""
    return [
        pod for pod in objects.staying(pods) if objects.annotations(pod).get(RELEASE_ANNOTATION) == release_id
    ]


def is_scheduled(pod: Mapping[str, Any]) -> bool:
    return objects.holds(pod, "PodScheduled")


def phase_of(pods: Sequence[Mapping[str, Any]]) -> str:
    """The phase of the slowest pod."""
    return min((pod_phase(pod) for pod in pods), key=PHASES.index, default="creating")


def pod_phase(pod: Mapping[str, Any]) -> str:
    """One of PHASES."""
    if objects.is_ready(pod):
        return "ready"
    if not is_scheduled(pod):
        return "unscheduled"
    return "image or volume" if objects.running_since(pod) is None else "loading"


def progress_of(pods: Sequence[Mapping[str, Any]], evidence: Sequence[PodEvidence]) -> str:
    """The phase of the slowest pod in more detail: what it waits for, or what its log says it does."""
    phase = phase_of(pods)
    mine = [seen for seen in evidence if pod_phase(seen.pod) == phase]
    if phase == "image or volume":
        return min((waits_for(seen.events) for seen in mine), key=WAITS.index, default=phase)
    if phase == "loading":
        return min((loading_phase(seen.log) for seen in mine), key=LOADING.index, default=phase)
    return phase


def waits_for(events: Sequence[str]) -> str:
    """What keeps a scheduled pod from running, by its events. The kubelet mounts volumes before it pulls."""
    reasons = {line.partition(":")[0].rpartition(" ")[2] for line in events}
    return WAITS[2] if "Pulled" in reasons else WAITS[1] if "Pulling" in reasons else WAITS[0]
