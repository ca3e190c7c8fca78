"""Jobs: pods that run to an end (pkg/controller/job). Not here: successPolicy, backoffLimitPerIndex, managedBy."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.controller import Controller, Timing, namespace_ends
from slipway_sandbox.controllers.job_failures import is_past_limit, pause, policy_failure
from slipway_sandbox.controllers.job_tracking import (
    FINALIZER,
    INDEX,
    Tally,
    has_finalizer,
    index_of,
    is_indexed,
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
    with_condition,
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
    suspended = bool(job["spec"].get("suspend"))
    if not suspended and "startTime" not in status:
        status["startTime"] = timestamp(now)
    failure = _failure(job, status, pods, tally, now)
    if failure is not None:
        conditions = _end(plan, job, conditions, "FailureTarget", "Failed", failure, tally, now)
    elif _is_successful(job, status, tally):
        conditions = _end(plan, job, conditions, "SuccessCriteriaMet", "Complete", _REACHED, tally, now)
    elif suspended:
        conditions = _suspend(plan, job, conditions, status, tally, now)
    else:
        if any(c["type"] == "Suspended" and c["status"] == "True" for c in conditions):
            resumed = ("JobResumed", "Job resumed")
            conditions = with_condition(conditions, _condition("Suspended", resumed, now, "False"))
            status["startTime"] = timestamp(now)
            plan.writes.append(Note(job, "Job", "Resumed", "Job resumed"))
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
    """Until activeDeadlineSeconds is over; None where there is no deadline or the job is suspended."""
    deadline = job["spec"].get("activeDeadlineSeconds")
    if deadline is None or job["spec"].get("suspend") or "startTime" not in status:
        return None
    return (parse_time(status["startTime"]) + timedelta(seconds=deadline) - now).total_seconds()


def _is_successful(job: Object, status: Object, tally: Tally) -> bool:
    if any(c["type"] == "SuccessCriteriaMet" for c in status.get("conditions") or []):
        return True
    completions = job["spec"].get("completions")
    if completions is None:  # a work queue: done when one pod succeeded and none is left
        return bool(tally.succeeded) and not tally.active and not tally.terminating
    return tally.succeeded >= int(completions)


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


def _suspend(
    plan: JobPlan, job: Object, conditions: list[Object], status: Object, tally: Tally, now: datetime
) -> list[Object]:
    plan.writes += _dismiss(job, tally.active)
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
    completions = job["spec"].get("completions")
    if completions is None:
        wanted = len(tally.active) if tally.succeeded else parallelism
    else:
        wanted = min(parallelism, int(completions) - tally.succeeded)
    wanted = max(wanted, 0)
    left = _seconds_left(job, status, now)
    plan.again_in = left
    surplus, doubles = len(tally.active) - wanted, _doubles(job, tally)
    if surplus > 0 or doubles:
        plan.writes += _dismiss(job, doubles or deletion_order(tally.active)[:surplus])
        return
    ending = len(tally.terminating) if only_failed_are_replaced(job) else 0
    missing = wanted - len(tally.active) - ending
    if missing <= 0:
        return
    wait = pause(pods, tally.failed_pods, now, timing)
    if wait > 0:
        plan.again_in = wait if left is None else min(wait, left)
        return
    plan.creates = [Create(PODS, _pod(job, index)) for index in _next_indexes(job, tally, missing)]


def _doubles(job: Object, tally: Tally) -> list[Object]:
    """Active pods of an index that another pod has, or that is done, or is none of the job's."""
    if not is_indexed(job):
        return []
    seen: set[int] = set(tally.completed)
    extra = []
    for pod in tally.active:
        index = index_of(pod)
        if index is None or index in seen or index >= int(job["spec"]["completions"]):
            extra.append(pod)
        else:
            seen.add(index)
    return extra


def _next_indexes(job: Object, tally: Tally, number: int) -> Sequence[int | None]:
    """The lowest indexes without a pod; None for each pod of a job that has no indexes."""
    if not is_indexed(job):
        return [None] * number
    busy = {index_of(pod) for pod in (*tally.active, *tally.terminating)} | set(tally.completed)
    free = [index for index in range(int(job["spec"]["completions"])) if index not in busy]
    return free[:number]


def _pod(job: Object, index: int | None) -> Object:
    pod = from_template(job["spec"]["template"], job, JOBS)
    metadata = pod["metadata"]
    metadata["finalizers"] = [*(metadata.get("finalizers") or []), FINALIZER]
    metadata["labels"] |= {
        "batch.kubernetes.io/controller-uid": uid_of(job),
        "batch.kubernetes.io/job-name": name_of(job),
        "controller-uid": uid_of(job),
        "job-name": name_of(job),
    }
    if index is not None:
        metadata["generateName"] = f"{name_of(job)}-{index}-"
        metadata["labels"] |= {INDEX: str(index)}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), INDEX: str(index)}
        pod["spec"] = _with_index(pod["spec"], f"{name_of(job)}-{index}")
    return pod


def _with_index(spec: Object, hostname: str) -> Object:
    """The pod learns its index from JOB_COMPLETION_INDEX."""
    spec = copy.deepcopy(spec)
    spec.setdefault("hostname", hostname)
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        env = container.setdefault("env", [])
        if not any(entry["name"] == "JOB_COMPLETION_INDEX" for entry in env):
            env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return spec


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
