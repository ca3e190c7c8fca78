"""Jobs: pods that run to an end (pkg/controller/job). Not here: Indexed completion, podFailurePolicy, successPolicy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.apiclient import ApiError
from sandbox.controllers.controller import Controller, Timing, namespace_ends
from sandbox.controllers.objects import (
    JOBS,
    PODS,
    Key,
    Object,
    condition_is,
    is_deleting,
    name_of,
    parse_time,
    status_of,
    timestamp,
    uid_of,
    with_condition,
)
from sandbox.controllers.pods import (
    deletion_order,
    from_template,
    is_active,
    is_ready,
    is_terminal,
    phase,
    restarts,
)
from sandbox.controllers.writes import Create, Decision, Delete, Note, Write, update_status

_LIMIT = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")
_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")


@dataclass
class JobPlan:
    """What a job needs now: pods to make, then `writes` (deletions, status, events)."""

    creates: list[Create] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    again_in: float | None = None


@dataclass(frozen=True)
class _Tally:
    active: list[Object]
    terminating: list[Object]
    succeeded: int
    failed: int
    failed_pods: list[Object]


def is_finished(job: Object) -> bool:
    return condition_is(job, "Complete") or condition_is(job, "Failed")


def decide_job(job: Object, pods: Sequence[Object], now: datetime, timing: Timing) -> JobPlan:
    """The next step of a job that has these pods."""
    plan = JobPlan()
    if is_deleting(job):
        return plan
    if is_finished(job):
        _expire(plan, job, now)
        return plan
    tally = _tally(pods)
    status: Object = dict(status_of(job))
    conditions: list[Object] = list(status.get("conditions") or [])
    suspended = bool(job["spec"].get("suspend"))
    if not suspended and "startTime" not in status:
        status["startTime"] = timestamp(now)
    failure = _failure(job, status, tally, now)
    if failure is not None:
        conditions = _fail(plan, job, conditions, failure, tally, now)
    elif _is_successful(job, tally):
        conditions = _succeed(plan, job, conditions, tally, now)
    elif suspended:
        conditions = _suspend(plan, job, conditions, status, tally, now)
    else:
        if any(c["type"] == "Suspended" and c["status"] == "True" for c in conditions):
            conditions = with_condition(
                conditions, _condition("Suspended", ("JobResumed", "Job resumed"), now, "False")
            )
            status["startTime"] = timestamp(now)
        _run(plan, job, status, tally, now, timing)
    if any(c["type"] == "Complete" for c in conditions):
        status["completionTime"] = timestamp(now)
    status |= _counts(tally, conditions, dropped=_deleted_now(plan))
    status["conditions"] = conditions or None
    plan.writes += update_status(JOBS, job, status)
    return plan


def _tally(pods: Sequence[Object]) -> _Tally:
    failed = [pod for pod in pods if phase(pod) == "Failed"]
    # A running pod somebody deletes counts as failed (GetReadyPods/validPods before pod replacement policy).
    killed = [pod for pod in pods if is_deleting(pod) and not is_terminal(pod)]
    return _Tally(
        active=[pod for pod in pods if is_active(pod)],
        terminating=killed,
        succeeded=sum(phase(pod) == "Succeeded" for pod in pods),
        failed=len(failed) + len(killed),
        failed_pods=failed,
    )


def _deleted_now(plan: JobPlan) -> int:
    return sum(isinstance(write, Delete) for write in plan.writes)


def _counts(tally: _Tally, conditions: Sequence[Object], dropped: int) -> Object:
    ready = sum(is_ready(pod) for pod in tally.active)
    active = max(len(tally.active) - dropped, 0)
    over = any(c["type"] in ("Complete", "Failed") for c in conditions)
    return {
        "active": None if over else active or None,
        "ready": 0 if over or dropped else ready,
        "terminating": 0 if over else len(tally.terminating) + dropped,
        "succeeded": tally.succeeded or None,
        "failed": (tally.failed + dropped) or None,
        "uncountedTerminatedPods": {},
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


def _failure(job: Object, status: Object, tally: _Tally, now: datetime) -> tuple[str, str] | None:
    target = next((c for c in status.get("conditions") or [] if c["type"] == "FailureTarget"), None)
    if target is not None:
        return target["reason"], target["message"]
    limit = job["spec"].get("backoffLimit")
    limit = 6 if limit is None else int(limit)
    failures = len(tally.failed_pods)
    policy = job["spec"]["template"]["spec"].get("restartPolicy")
    retried = sum(restarts(pod) for pod in tally.active) if policy == "OnFailure" else 0
    if failures > limit or (retried and retried >= limit):
        return _LIMIT
    left = _seconds_left(job, status, now)
    return _DEADLINE if left is not None and left <= 0 else None


def _seconds_left(job: Object, status: Object, now: datetime) -> float | None:
    """Until activeDeadlineSeconds is over; None where there is no deadline or the job is suspended."""
    deadline = job["spec"].get("activeDeadlineSeconds")
    if deadline is None or job["spec"].get("suspend") or "startTime" not in status:
        return None
    return (parse_time(status["startTime"]) + timedelta(seconds=deadline) - now).total_seconds()


def _is_successful(job: Object, tally: _Tally) -> bool:
    completions = job["spec"].get("completions")
    if completions is None:  # a work queue: done when one pod succeeded and none is left
        return bool(tally.succeeded) and not tally.active and not tally.terminating
    return tally.succeeded >= int(completions)


def _fail(
    plan: JobPlan,
    job: Object,
    conditions: list[Object],
    why: tuple[str, str],
    tally: _Tally,
    now: datetime,
) -> list[Object]:
    """FailureTarget at once; Failed when the last pod has gone (JobManagedBy/JobPodReplacementPolicy, 1.31)."""
    conditions = _once(conditions, _condition("FailureTarget", why, now))
    plan.writes += _drop(job, tally.active)
    if not tally.active and not tally.terminating:
        conditions = _once(conditions, _condition("Failed", why, now))
        plan.writes.append(Note(job, "Job", why[0], why[1], warning=True))
    return conditions


def _succeed(
    plan: JobPlan, job: Object, conditions: list[Object], tally: _Tally, now: datetime
) -> list[Object]:
    conditions = _once(conditions, _condition("SuccessCriteriaMet", _REACHED, now))
    plan.writes += _drop(job, tally.active)
    if not tally.active and not tally.terminating:
        conditions = _once(conditions, _condition("Complete", _REACHED, now))
        plan.writes.append(Note(job, "Job", "Completed", "Job completed"))
    return conditions


def _once(conditions: list[Object], new: Object) -> list[Object]:
    return conditions if any(c["type"] == new["type"] for c in conditions) else [*conditions, new]


def _suspend(
    plan: JobPlan, job: Object, conditions: list[Object], status: Object, tally: _Tally, now: datetime
) -> list[Object]:
    plan.writes += _drop(job, tally.active)
    status.pop("startTime", None)
    old = next((c for c in conditions if c["type"] == "Suspended"), None)
    if old is not None and old["status"] == "True":
        return conditions
    plan.writes.append(Note(job, "Job", "Suspended", "Job suspended"))
    return with_condition(conditions, _condition("Suspended", ("JobSuspended", "Job suspended"), now))


def _drop(job: Object, pods: Sequence[Object]) -> list[Write]:
    writes: list[Write] = []
    for pod in pods:
        writes.append(Delete(PODS, pod))
        writes.append(Note(job, "Job", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}"))
    return writes


def _run(plan: JobPlan, job: Object, status: Object, tally: _Tally, now: datetime, timing: Timing) -> None:
    """As many active pods as parallelism allows and completions still need."""
    parallelism = job["spec"].get("parallelism")
    parallelism = 1 if parallelism is None else int(parallelism)
    completions = job["spec"].get("completions")
    if completions is None:
        wanted = len(tally.active) if tally.succeeded else parallelism
    else:
        wanted = min(parallelism, int(completions) - tally.succeeded)
    wanted = max(wanted, 0)
    left = _seconds_left(job, status, now)
    plan.again_in = left
    if len(tally.active) > wanted:
        plan.writes += _drop(job, deletion_order(tally.active)[: len(tally.active) - wanted])
        return
    missing = wanted - len(tally.active)
    if not missing:
        return
    wait = _backoff(tally.failed_pods, now, timing)
    if wait > 0:
        plan.again_in = wait if left is None else min(wait, left)
        return
    plan.creates = [Create(PODS, _pod(job))] * missing


def _backoff(failed: Sequence[Object], now: datetime, timing: Timing) -> float:
    """Seconds until the next pod may start: doubling with each failed pod, from when the last one failed."""
    if not failed:
        return 0.0
    delay = min(timing.job_backoff * 2.0 ** (len(failed) - 1), timing.job_backoff_limit)
    last = max(_finished_at(pod, now) for pod in failed)
    return (last + timedelta(seconds=delay) - now).total_seconds()


def _finished_at(pod: Object, now: datetime) -> datetime:
    ends = [
        parse_time(terminated["finishedAt"])
        for container in status_of(pod).get("containerStatuses") or []
        if (terminated := (container.get("state") or {}).get("terminated")) and terminated.get("finishedAt")
    ]
    return max(ends) if ends else parse_time(pod["metadata"].get("creationTimestamp") or timestamp(now))


def _pod(job: Object) -> Object:
    pod = from_template(job["spec"]["template"], job, JOBS)
    pod["metadata"]["labels"] |= {
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
        if job is None:
            return
        pods = self.world.store(PODS).owned_by(uid_of(job))
        plan = decide_job(job, pods, self.world.now(), self.world.timing)
        await self.act(key, Decision(plan.writes, plan.again_in))
        for create in plan.creates:
            await self._make(job, create)

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
