"""Jobs: pods that run to an end (pkg/controller/job).

Not here: indexed and suspended jobs, work queues without completions, successPolicy, managedBy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.controller import Controller, Timing, namespace_ends
from slipway_sandbox.controllers.job_failures import is_past_limit, pause, policy_failure
from slipway_sandbox.controllers.job_tracking import (
    FINALIZER,
    Tally,
    has_finalizer,
    only_failed_are_replaced,
    releases,
    track,
)
from slipway_sandbox.controllers.objects import (
    JOBS,
    PODS,
    Key,
    Object,
    condition_is,
    controller_of,
    is_deleting,
    name_of,
    parse_time,
    status_of,
    timestamp,
    uid_of,
)
from slipway_sandbox.controllers.pods import deletion_order, from_template, is_ready
from slipway_sandbox.controllers.writes import Create, Decision, Delete, Note, Write, update_status

_LIMIT = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")
_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")


@dataclass
class JobPlan:
    """What a job needs now: pods to make, then `writes` (status, finalizers, deletions, events)."""

    creates: list[Create] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    again_in: float | None = None


def is_finished(job: Object) -> bool:
    return condition_is(job, "Complete") or condition_is(job, "Failed")


def decide_job(job: Object, pods: Sequence[Object], now: datetime, timing: Timing) -> JobPlan:
    """The next step of a job that has these pods."""
    plan = JobPlan()
    if is_deleting(job) or is_finished(job):
        plan.writes += releases(pods)  # nobody counts any more
        if not is_deleting(job):
            _expire(plan, job, now)
        return plan
    tally = track(job, pods)
    status: Object = dict(status_of(job))
    conditions: list[Object] = list(status.get("conditions") or [])
    if "startTime" not in status:
        status["startTime"] = timestamp(now)
    failure = _failure(job, status, pods, tally, now)
    if failure is not None:
        conditions = _end(plan, job, conditions, "FailureTarget", "Failed", failure, tally, now)
    elif _is_successful(job, status, tally):
        conditions = _end(plan, job, conditions, "SuccessCriteriaMet", "Complete", _REACHED, tally, now)
    else:
        _run(plan, job, status, pods, tally, now, timing)
    if any(c["type"] == "Complete" for c in conditions):
        status["completionTime"] = timestamp(now)
    status |= _counts(tally, conditions, dropped=sum(isinstance(write, Delete) for write in plan.writes))
    status["conditions"] = conditions or None
    plan.writes = [*update_status(JOBS, job, status), *releases(tally.release), *plan.writes]
    return plan


def _counts(tally: Tally, conditions: Sequence[Object], dropped: int) -> Object:
    ready = sum(is_ready(pod) for pod in tally.active)
    active = max(len(tally.active) - dropped, 0)
    over = any(c["type"] in ("Complete", "Failed") for c in conditions)
    return {
        "active": None if over else active or None,
        "ready": 0 if over or dropped else ready,
        "terminating": 0 if over else len(tally.terminating) + dropped,
        **tally.counts,
    }


def _condition(kind: str, why: tuple[str, str], now: datetime, status: str = "True") -> Object:
    moment = timestamp(now)
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
        "reason": why[0],
        "message": why[1],
    }


def _failure(
    job: Object, status: Object, pods: Sequence[Object], tally: Tally, now: datetime
) -> tuple[str, str] | None:
    target = next((c for c in status.get("conditions") or [] if c["type"] == "FailureTarget"), None)
    if target is not None:
        return target["reason"], target["message"]
    forbidden = policy_failure(job, [pod for pod in pods if has_finalizer(pod)])
    if forbidden is not None:
        return forbidden
    if is_past_limit(job, tally.failed, tally.active):
        return _LIMIT
    left = _seconds_left(job, status, now)
    return _DEADLINE if left is not None and left <= 0 else None


def _seconds_left(job: Object, status: Object, now: datetime) -> float | None:
    """Until activeDeadlineSeconds is over; None where there is no deadline."""
    deadline = job["spec"].get("activeDeadlineSeconds")
    if deadline is None:
        return None
    return (parse_time(status["startTime"]) + timedelta(seconds=deadline) - now).total_seconds()


def _is_successful(job: Object, status: Object, tally: Tally) -> bool:
    if any(c["type"] == "SuccessCriteriaMet" for c in status.get("conditions") or []):
        return True
    return tally.succeeded >= _completions(job)


def _completions(job: Object) -> int:
    """The pods that have to succeed; a job that names none is done by one."""
    return int(job["spec"].get("completions") or 1)


def _end(
    plan: JobPlan,
    job: Object,
    conditions: list[Object],
    target: str,
    final: str,
    why: tuple[str, str],
    tally: Tally,
    now: datetime,
) -> list[Object]:
    """The target at once; the final condition when the last pod has gone and all are counted (1.31)."""
    conditions = _once(conditions, _condition(target, why, now))
    plan.writes += _drop(job, tally.active)
    if not tally.active and not tally.terminating and not tally.uncounted:
        conditions = _once(conditions, _condition(final, why, now))
        note = Note(job, "Job", "Completed", "Job completed")
        plan.writes.append(note if final == "Complete" else Note(job, "Job", why[0], why[1], warning=True))
    return conditions


def _once(conditions: list[Object], new: Object) -> list[Object]:
    return conditions if any(c["type"] == new["type"] for c in conditions) else [*conditions, new]


def _drop(job: Object, pods: Sequence[Object]) -> list[Write]:
    writes: list[Write] = []
    for pod in pods:
        writes.append(Delete(PODS, pod))
        writes.append(Note(job, "Job", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}"))
    return writes


def _dismiss(job: Object, pods: Sequence[Object]) -> list[Write]:
    """Pods the job needs no longer: without their finalizer, so that they do not count as failed (deleteJobPods)."""
    return [*releases(pods), *_drop(job, pods)]


def _run(
    plan: JobPlan,
    job: Object,
    status: Object,
    pods: Sequence[Object],
    tally: Tally,
    now: datetime,
    timing: Timing,
) -> None:
    """As many active pods as parallelism allows and completions still need."""
    parallelism = job["spec"].get("parallelism")
    parallelism = 1 if parallelism is None else int(parallelism)
    wanted = max(min(parallelism, _completions(job) - tally.succeeded), 0)
    left = _seconds_left(job, status, now)
    plan.again_in = left
    if (surplus := len(tally.active) - wanted) > 0:
        plan.writes += _dismiss(job, deletion_order(tally.active)[:surplus])
        return
    ending = len(tally.terminating) if only_failed_are_replaced(job) else 0
    missing = wanted - len(tally.active) - ending
    if missing <= 0:
        return
    wait = pause(pods, tally.failed_pods, now, timing)
    if wait > 0:
        plan.again_in = wait if left is None else min(wait, left)
        return
    plan.creates = [Create(PODS, _pod(job))] * missing


def _pod(job: Object) -> Object:
    pod = from_template(job["spec"]["template"], job, JOBS)
    metadata = pod["metadata"]
    metadata["finalizers"] = [*(metadata.get("finalizers") or []), FINALIZER]
    metadata["labels"] |= {
        "batch.kubernetes.io/controller-uid": uid_of(job),
        "batch.kubernetes.io/job-name": name_of(job),
        "controller-uid": uid_of(job),
        "job-name": name_of(job),
    }
    return pod


def _expire(plan: JobPlan, job: Object, now: datetime) -> None:
    """The TTL-after-finished controller."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None:
        return
    ended = next(
        c
        for c in status_of(job)["conditions"]
        if c["type"] in ("Complete", "Failed") and c["status"] == "True"
    )
    left = (parse_time(ended["lastTransitionTime"]) + timedelta(seconds=int(ttl)) - now).total_seconds()
    if left <= 0:
        plan.writes.append(Delete(JOBS, job, {"propagationPolicy": "Foreground"}))
    else:
        plan.again_in = left


class JobController(Controller):
    component = "job-controller"
    needs = (JOBS, PODS)

    def wire(self) -> None:
        self.watch_own(JOBS)
        self.watch_children(PODS, "Job")

    async def reconcile(self, key: Key) -> None:
        job = self.world.store(JOBS).get(*key)
        await self._release_orphans(key, job)
        if job is None:
            return
        pods = self.world.store(PODS).owned_by(uid_of(job))
        plan = decide_job(job, pods, self.world.now(), self.world.timing)
        await self.act(key, Decision(plan.writes, plan.again_in))
        for create in plan.creates:
            await self._make(job, create)

    async def _release_orphans(self, key: Key, job: Object | None) -> None:
        """Pods of a job that is gone: nobody else would take the finalizer from them."""
        left = []
        for pod in self.world.store(PODS).within(key[0]):
            owner = controller_of(pod) if has_finalizer(pod) else None
            if owner and (owner["kind"], owner["name"]) == ("Job", key[1]):
                left += [] if job is not None and owner["uid"] == uid_of(job) else [pod]
        await self.act(key, Decision(releases(left)))

    async def _make(self, job: Object, create: Create) -> None:
        try:
            made = await self.world.write(self.component, create)
        except ApiError as error:
            if namespace_ends(error):
                return
            message = f"Error creating: {error.message}"
            self.world.recorder.note(self.component, Note(job, "Job", "FailedCreate", message, True))
            raise
        assert made is not None
        note = Note(job, "Job", "SuccessfulCreate", f"Created pod: {name_of(made)}")
        self.world.recorder.note(self.component, note)
