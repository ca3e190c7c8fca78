"""Break a pod's start into phases, from its conditions, its events and vLLM's log. Pure.

The log's words are vLLM 0.32.0's; the kubelet's reasons https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from tasks.cloud import objects
from tasks.records.quantities import human_seconds
from tasks.records.starts import Phase
from tasks.releases.records import Start

# the phase that has ended where a line matches, in order
MARKERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("engine", re.compile(r"Starting to load model ")),
    ("weights", re.compile(r"Model loading took ")),
    ("compile", re.compile(r"init engine \(.*\) took ")),
    ("server", re.compile(r"Application startup complete")),
    ("first answer", re.compile(r'"POST /v1/(completions|embeddings|score) HTTP/1\.1" 200')),
)
LOADING = ("loading", "loading weights", "compiling", "starting its server", "answering for the first time")
EVENTS = {"SuccessfulAttachVolume": "volume", "Pulled": "image"}
# a phase is reported as slower where it took so much more than the last time, and so many seconds
MARGIN = 0.25
NOTICED_SECONDS = 1.0
# a rate of S3 that is not so many times the slowest allowed is near it: throughput of one prefix varies by the hour
NEAR = 2.0


def shown(start: Start, before: Start | None) -> str:
    """One line: "scheduled 0.1 s, image 2.0 s, …; 12.0 s in all, last time 11.0 s"."""
    phases = ", ".join(f"{name} {human_seconds(took)}" for name, took in start.phases.items())
    was = f", last time {human_seconds(before.seconds)}" if before else ""
    return f"{phases}; {human_seconds(start.seconds)} in all{was}"


def loading_phase(log: Sequence[str]) -> str:
    """The phase of LOADING that a running container is in, by the last phase its log says has ended."""
    done = [index for index, (_, marker) in enumerate(MARKERS) if any(marker.search(line) for line in log)]
    return LOADING[min(max(done) + 1, len(LOADING) - 1)] if done else LOADING[0]


@dataclass(frozen=True)
class Beside:
    """What is known of a start besides its pod. None: nothing shows it.

    Args:
        decided: when somebody asked for the replica.
        claimed: when Karpenter made the NodeClaim of the pod's node.
        node_ready: when that node became Ready.
        first_token: when a request that was held got its first token.
    """

    decided: datetime | None = None
    claimed: datetime | None = None
    node_ready: datetime | None = None
    first_token: datetime | None = None


def start_phases(
    pod: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]] = (),
    log: Sequence[str] = (),
    beside: Beside = Beside(),
) -> dict[str, float]:
    """Seconds of each phase of tasks/records/starts.py, from the decision or else from the pod's creation.

    A phase that nothing shows is left out and counts to the next. Events and conditions have whole seconds, so the
    fixed order orders them, not their times.

    Args:
        events: the pod's own, as on the wire.
        log: lines after their time (RFC 3339), as the API gives them with `timestamps`.
    """
    created = pod_created(pod)
    marks = [*_beside_marks(created, beside), *_pod_marks(pod), *_event_marks(events), *_log_marks(log)]
    phases: dict[str, float] = {}
    last = min(created, beside.decided or created)
    for at, name in sorted(marks, key=lambda mark: _ORDER.index(mark[1])):
        if name not in phases:
            phases[name] = max(0.0, (at - last).total_seconds())
            last = max(at, last)
    return phases


_ORDER: tuple[str, ...] = get_args(Phase)


def pod_created(pod: Mapping[str, Any]) -> datetime:
    """When the pod was made; a start is told from others by it."""
    return _time(pod["metadata"]["creationTimestamp"])


def _beside_marks(created: datetime, beside: Beside) -> list[tuple[datetime, str]]:
    """A node that was there before the pod is no phase of its start."""
    marks = [(created, "scaler")] if beside.decided else []
    if beside.claimed and beside.claimed >= created:
        marks.append((beside.claimed, "node requested"))
    if beside.node_ready and beside.node_ready >= created:
        marks.append((beside.node_ready, "node ready"))
    if beside.first_token:
        marks.append((beside.first_token, "first token"))
    return marks


def _pod_marks(pod: Mapping[str, Any]) -> list[tuple[datetime, str]]:
    marks = [
        (_time(condition["lastTransitionTime"]), name)
        for condition in objects.status(pod).get("conditions") or ()
        if (name := {"PodScheduled": "scheduled", "Ready": "ready"}.get(condition["type"]))
        and condition["status"] == "True"
        and condition.get("lastTransitionTime")
    ]
    if since := objects.running_since(pod):
        marks.append((_time(since), "container"))
    return marks


def _event_marks(events: Sequence[Mapping[str, Any]]) -> list[tuple[datetime, str]]:
    return [
        (_time(at), EVENTS[event["reason"]])
        for event in events
        if event.get("reason") in EVENTS and (at := event.get("eventTime") or event.get("firstTimestamp"))
    ]


def _log_marks(log: Sequence[str]) -> list[tuple[datetime, str]]:
    marks = []
    for name, marker in MARKERS:
        line = next((line for line in log if marker.search(line)), None)
        if line:
            marks.append((_time(line.partition(" ")[0]), name))
    return marks


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def streamed_rate(phases: Mapping[str, float], weight_bytes: int) -> float | None:
    """MiB/s that weights came from S3 with, over the whole phase that reads them; None where its length is not known."""
    took = phases.get("weights", 0.0)
    return weight_bytes / took / 2**20 if took else None


def told_rate(rate: float, allowed: float) -> tuple[bool, str]:
    """Whether a measured rate of S3 is too near the slowest the start-up budget allows (both MiB/s), and the line that says it."""
    line = f"weights streamed at {rate:.0f} MiB/s; the start-up budget allows for {allowed:g} (deadlines.stream_mib_s)"
    near = rate < NEAR * allowed
    return near, f"{line}: set it to {max(1, int(rate / NEAR))}, or a slower start is ended" if near else line


def rows(phases: Mapping[str, float], before: Mapping[str, float]) -> list[dict[str, str]]:
    """Rows of a table: each phase beside the last start's; the last row is the sum."""
    found = [
        {
            "phase": name,
            "seconds": f"{took:.1f}",
            "last time": f"{before[name]:.1f}" if name in before else "",
        }
        for name, took in phases.items()
    ]
    whole = {"phase": "in all", "seconds": f"{sum(phases.values()):.1f}"}
    return [*found, whole | {"last time": f"{sum(before.values()):.1f}" if before else ""}]


def slower(phases: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """The phases, and the whole start, that took longer than the last time by more than MARGIN."""
    now, was = dict(phases), dict(before)
    if phases and before:
        now["the whole start"], was["the whole start"] = sum(phases.values()), sum(before.values())
    return [
        f"{name} {human_seconds(took)}, was {human_seconds(was[name])}"
        for name, took in now.items()
        if name in was and took > was[name] * (1 + MARGIN) and took - was[name] >= NOTICED_SECONDS
    ]
