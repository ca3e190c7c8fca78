"""Explain why a pod does not become ready: by its events and state (pod_causes.py) and by vLLM's log (engine_causes.py). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.cloud import objects
from tasks.records.errors import RolloutFailed
from tasks.records.redacted import redacted
from tasks.rollout import pod_causes
from tasks.rollout.engine_causes import Cause, tell
from tasks.rollout.engine_log import Failure, first_failure, was_stopped
from tasks.rollout.pod_causes import Matcher

# the words of the startup probe in k8s/serving/deployment.yaml
UP = "Startup probe failed: vLLM is up, but "


@dataclass(frozen=True)
class PodEvidence:
    """What was seen of a pod.

    Args:
        pod: the object as on the wire.
        events: lines such as "Warning Reason: message", oldest first.
        log: of the engine's present life, or of its last where it waits to be started again.
        previous: the log of the life before that, where it was restarted.
        claims: the events of unbound claims, each after the claim's name.
        node: what is wrong with its node.
        group: what EKS says is wrong with the node group, where the pod has no node.
    """

    pod: Mapping[str, Any]
    events: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    node: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    previous: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Why a pod is not ready. `final`: waiting longer cannot help; `log`: the engine's, where that tells of it."""

    cause: str
    evidence: tuple[str, ...]
    next_command: str
    final: bool
    log: tuple[str, ...] = ()

    def error(self) -> RolloutFailed:
        return RolloutFailed(self.cause, evidence=self.evidence, next_command=self.next_command)


# the scheduler's own; Karpenter writes events of that reason too
_SCHEDULERS = r"Warning FailedScheduling: (0/\d+ nodes|no nodes) "


def container_states(pod: Mapping[str, Any]) -> list[str]:
    """The containers' present and last states, as "REASON", "REASON after exit 0" or "REASON exit N"."""
    lines = []
    for status in objects.container_statuses(pod):
        last = status.get("lastState") or {}
        without_error = (last.get("terminated") or {}).get("exitCode") == 0
        for state in (status.get("state") or {}, last):
            if waiting := state.get("waiting"):
                lines.append(f"{waiting.get('reason', '')}{' after exit 0' if without_error else ''}")
            if ended := state.get("terminated"):
                lines.append(f"{ended.get('reason', '')} exit {ended.get('exitCode')}")
    return lines


def current_events(seen: PodEvidence) -> list[str]:
    """The event lines that still hold: events are kept for an hour, whatever came of them.

    The scheduler's present reason is in the pod's condition. Its events keep earlier reasons, and a series of them
    only its first message (k8s.io/client-go/tools/events).
    """
    over: set[str] = set()
    scheduled = objects.condition(seen.pod, "PodScheduled")
    if scheduled.get("status") == "True":
        over.add("FailedScheduling")
    elif scheduled.get("reason") == "Unschedulable" and scheduled.get("message"):
        now = f"Warning FailedScheduling: {scheduled['message']}"
        lines = [line for line in seen.events if not re.match(_SCHEDULERS, line)]
        return [*lines, now]
    if any("running" in (s.get("state") or {}) for s in objects.container_statuses(seen.pod)):
        over |= {"FailedAttachVolume", "FailedMount", "Failed", "ErrImagePull"}
    return [line for line in seen.events if line.partition(":")[0].rpartition(" ")[2] not in over]


def last_words(log: Sequence[str]) -> list[str]:
    """The log's last lines."""
    return [redacted(line) for line in log[-8:]]


def explain(seen: PodEvidence) -> Explanation | None:
    """The first cause that the evidence shows; None where there is none yet.

    What vLLM says of itself goes before the state that it led to, where its kind is known; where it is not, after what
    ended it from outside.
    """
    engine = _EngineEnd.of(seen)
    return (
        _by_table(seen, pod_causes.BEFORE)
        or (engine.explanation(seen) if engine and engine.cause.kind else None)
        or _by_table(seen, pod_causes.ENDED)
        or (engine.explanation(seen) if engine and _has_ended(seen.pod) else None)
        or _stopped(seen)
        or _by_table(seen, pod_causes.CRASHED)
        or _by_table(seen, pod_causes.WAITING)
    )


@dataclass(frozen=True)
class _EngineEnd:
    """What the log of one life says it ended with."""

    failure: Failure
    cause: Cause
    log: tuple[str, ...]

    @classmethod
    def of(cls, seen: PodEvidence) -> _EngineEnd | None:
        for log in (seen.log, seen.previous):
            if failure := first_failure(log):
                return cls(failure, tell(failure), log)
        return None

    def explanation(self, seen: PodEvidence) -> Explanation:
        names, failure = _names(seen.pod), self.failure
        place = [f"raised at {failure.place}"] if failure.place else []
        before = [f"from {message}" for message in failure.chain[:1]]
        lines = (*failure.seen, *before, *place)
        return Explanation(
            self.cause.text,
            (f"pod {names['pod']}", *map(redacted, lines)),
            self.cause.next_command or pod_causes.LOGS.format(**names),
            # a life that runs may do better than the last, where the cause is one that passes
            final=not self.cause.passes or _starts_again_and_again(seen.pod),
            log=self.log,
        )


def _stopped(seen: PodEvidence) -> Explanation | None:
    """A life that came up, told of no error and was told to stop."""
    ended = seen.previous or seen.log
    if not _has_ended(seen.pod) or not was_stopped(ended):
        return None
    names = _names(seen.pod)
    return Explanation(
        "vLLM had come up and was told to stop; it did not fail by itself",
        (f"pod {names['pod']}", *container_states(seen.pod), *last_words(ended)),
        f"{pod_causes.DESCRIBE}: its events say what ended it (a probe, the node, a person)".format(**names),
        final=_starts_again_and_again(seen.pod),
        log=tuple(ended),
    )


def _has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether the engine ended at least once, whatever it does now."""
    statuses = objects.container_statuses(pod)
    return any(
        "terminated" in (status.get(key) or {}) for status in statuses for key in ("state", "lastState")
    )


def _starts_again_and_again(pod: Mapping[str, Any]) -> bool:
    return any(line.startswith("CrashLoopBackOff") for line in container_states(pod))


def _by_table(seen: PodEvidence, matchers: Sequence[Matcher]) -> Explanation | None:
    names, events = _names(seen.pod), current_events(seen)
    lines_of: dict[str, Sequence[str]] = {
        "events": events,
        "state": container_states(seen.pod),
        "claims": seen.claims,
        "node": seen.node,
        "group": seen.group,
    }
    log = seen.log or seen.previous
    for matcher in matchers:
        found = [line for line in lines_of[matcher.where] if matcher.regex.search(line)]
        if found:
            context = {"state": last_words(log), "group": events[-1:]}.get(matcher.where, [])
            return Explanation(
                matcher.cause,
                (f"pod {names['pod']}", *found[-3:], *context),
                matcher.next_command.format(**names),
                matcher.final,
                log=tuple(log) if matcher.where == "state" else (),
            )
    return None


def unmade(deployment: Mapping[str, Any] | None) -> Explanation | None:
    """Why a Deployment's ReplicaSet makes no pod, in the API server's words; None where it makes them."""
    failure = objects.condition(deployment, "ReplicaFailure")
    if deployment is None or failure.get("status") != "True":
        return None
    return refused(deployment, str(failure.get("message") or failure.get("reason")))


def refused(deployment: Mapping[str, Any], said: str) -> Explanation:
    """What the API server says of a pod that may not be made."""
    matcher = next(one for one in pod_causes.UNMADE if one.regex.search(said))
    return Explanation(
        matcher.cause,
        (f"deployment {objects.name(deployment)}", said),
        matcher.next_command.format(namespace=deployment["metadata"].get("namespace", "")),
        matcher.final,
    )


def explain_first(evidence: Sequence[PodEvidence]) -> Explanation | None:
    """The first explanation that any of the pods gives."""
    return next((found for seen in evidence if (found := unanswered(seen) or explain(seen))), None)


def unanswered(seen: PodEvidence) -> Explanation | None:
    """Explain a pod that came up and fails its startup probe; None where its container was restarted since.

    After a restart those events may be of its last life, whose end tells more.
    """
    if any(status.get("restartCount") for status in objects.container_statuses(seen.pod)[:1]):
        return None
    answers = [line.partition(UP)[2] for line in seen.events if UP in line]
    if not answers:
        return None
    names = _names(seen.pod)
    evidence = (f"pod {names['pod']}", answers[-1], *seen.log[-5:])
    if "/v1/models lists" in answers[-1]:
        cause = "vLLM serves another name than it was asked to"
        return Explanation(cause, evidence, "check --served-model-name in engine.extra_args", final=True)
    command = "kubectl -n {namespace} logs {pod}".format(**names)
    return Explanation("vLLM is up and does not answer as it must", evidence, command, final=False)


def _names(pod: Mapping[str, Any]) -> dict[str, str]:
    metadata = pod.get("metadata") or {}
    return {"namespace": metadata.get("namespace", ""), "pod": metadata.get("name", "")}
