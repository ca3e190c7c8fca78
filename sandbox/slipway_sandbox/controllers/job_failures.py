"""When a job gives up: podFailurePolicy, backoffLimit and the pause after a failed pod (pkg/controller/job)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from slipway_sandbox.controllers.controller import Timing
from slipway_sandbox.controllers.objects import Object, name_of, parse_time, status_of, timestamp
from slipway_sandbox.controllers.pods import phase, restarts


def matched_rule(job: Object, pod: Object) -> tuple[str, str] | None:
    """(action, what matched) of the first rule of podFailurePolicy that is about the failed pod."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or []
    for number, rule in enumerate(rules):
        where = f"{pod['metadata']['namespace']}/{name_of(pod)}"
        if "onExitCodes" in rule:
            found = _exit_code(rule["onExitCodes"], pod)
            what = (
                f"Container {found and found[0]} for pod {where} failed with exit code {found and found[1]}"
            )
        else:
            kind = _condition(rule.get("onPodConditions") or [], pod)
            found, what = (kind, 0) if kind else None, f"Pod {where} has condition {kind}"
        if found:
            return rule["action"], f"{what} matching {rule['action']} rule at index {number}"
    return None


def is_ignored(job: Object, pod: Object) -> bool:
    """A failed pod that a rule of the policy keeps from counting."""
    matched = matched_rule(job, pod) if phase(pod) == "Failed" else None
    return matched is not None and matched[0] == "Ignore"


def _exit_code(rule: Object, pod: Object) -> tuple[str, int] | None:
    """(container, its exit code) of the first one the rule is about."""
    status = status_of(pod)
    for container in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
        named = rule.get("containerName") in (None, container["name"])
        if code and named and (code in rule["values"]) == (rule["operator"] == "In"):
            return container["name"], int(code)
    return None


def _condition(patterns: Sequence[Object], pod: Object) -> str | None:
    for pattern in patterns:
        for condition in status_of(pod).get("conditions") or []:
            if (condition["type"], condition["status"]) == (pattern["type"], pattern.get("status", "True")):
                return str(pattern["type"])
    return None


def policy_failure(job: Object, pods: Sequence[Object]) -> tuple[str, str] | None:
    """(reason, message) where a failed pod matches a rule that fails the whole job."""
    for pod in pods:
        matched = matched_rule(job, pod) if phase(pod) == "Failed" else None
        if matched is not None and matched[0] == "FailJob":
            return "PodFailurePolicy", matched[1]
    return None


def is_past_limit(job: Object, failed: int, active: Sequence[Object]) -> bool:
    """More failed pods than backoffLimit, or that many restarts in place where pods restart themselves."""
    limit = job["spec"].get("backoffLimit")
    limit = 6 if limit is None else int(limit)
    if failed > limit:
        return True
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    retried = sum(restarts(pod) for pod in active)
    return retried > 0 if limit == 0 else retried >= limit


def pause(pods: Sequence[Object], failed: Sequence[Object], now: datetime, timing: Timing) -> float:
    """Seconds until the next pod may start: doubling with each pod that failed since one last succeeded."""
    good = [finished_at(pod, now) for pod in pods if phase(pod) == "Succeeded"]
    ends = [finished_at(pod, now) for pod in failed]
    in_a_row = [end for end in ends if not good or end > max(good)]
    if not in_a_row:
        return 0.0
    delay = min(timing.job_backoff * 2.0 ** (len(in_a_row) - 1), timing.job_backoff_limit)
    return (max(in_a_row) + timedelta(seconds=delay) - now).total_seconds()


def finished_at(pod: Object, now: datetime) -> datetime:
    ends = [
        parse_time(terminated["finishedAt"])
        for container in status_of(pod).get("containerStatuses") or []
        if (terminated := (container.get("state") or {}).get("terminated")) and terminated.get("finishedAt")
    ]
    return max(ends) if ends else parse_time(pod["metadata"].get("creationTimestamp") or timestamp(now))
