"""Warm a claim: look at the cluster, decide, take one step, look again, until the claim holds the staged model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tasks.cache import adoption, claims, failures, manifests, observe, snapshots
from tasks.cache.context import HELD, WARM, WARM_MANIFEST, Context
from tasks.cache.decide import Action, Phase, decide
from tasks.cache.observe import JobLog, Seen
from tasks.cache.volume import GIB, Volume, transfer_seconds
from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError, WarmingFailed
from tasks.records.names import cache_path
from tasks.records.quantities import human_bytes, human_seconds
from tasks.records.results import StagedModel, WarmCache

CONTAINER = "warm"
LOOK_SECONDS = 1.0
LOG_LINES = 100
GROW_SECONDS = 45.0  # within the minute a copy has to start (transfer_seconds)
UNPLACEABLE_SECONDS = 10.0  # the scheduler tells at once; a node may just be joining
UNPULLABLE_SECONDS = 30.0  # a registry may be away for a moment; kubelet tries again by itself
WAITS = {Action.WATCH_JOB, Action.AWAIT_DELETION, Action.AWAIT_BINDING, Action.AWAIT_GROWTH}
CLAIM, JOB = ("v1", "PersistentVolumeClaim"), ("batch/v1", "Job")

Limits = Mapping[Phase, float]


def limits(
    staged: StagedModel, throughput: float, environment: Environment, more_for_pull: float = 0.0
) -> Limits:
    """Seconds each phase of a warm job may take; the whole may take their sum. `throughput`: the volume's, in MiB/s."""
    waits = environment.deadlines
    slowest = min(throughput, waits.cold_read_mib_s)
    return {
        "deleting": waits.drain,
        "creating": 60.0,
        "scheduling": waits.node_boot,
        "volume": waits.volume_bind,
        "binding": waits.volume_bind,
        "growing": waits.volume_bind,
        "starting": waits.pod_start + more_for_pull,
        "lost": waits.node_boot,
        "running": transfer_seconds(staged.all_bytes, slowest),
    }


@dataclass
class Progress:
    """How far this run is. `since`: when the phase began, by the context's clock; `watched`: uids of the jobs it started
    or saw running; `reported`: lines of the job that were passed on; `copied`: bytes, once the job of this run succeeded."""

    limits: Limits
    since: float
    phase: Phase = "creating"
    watched: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)
    copied: int | None = None


def warm(context: Context) -> WarmCache:
    """Make the model's claim hold the staged model, and take its snapshot where one is wanted.

    A claim that is warm already is left alone. A run that was killed is resumed: a job still running is watched, one that
    ended is run again and finds its marker. Raises WarmingFailed with the cause read from events and the job's log,
    ClusterError, CloudError.
    """
    context = replace(context, needed=context.needed | _served(context))
    adoption.take_up(context)
    began = context.time.clock()
    throughput = claims.wanted_volume(context).throughput
    allowed = limits(context.staged, throughput, context.environment, context.more_for_pull)
    progress = Progress(allowed, began)
    seen = observe.look(context)
    while context.time.clock() < began + sum(allowed.values()):
        volume = claims.wanted_volume(context, seen)
        action = _decide(context, seen, progress, volume)
        if action is Action.REUSE:
            return snapshots.converge(context, _result(context, seen, progress, volume), volume)
        _take(context, seen, progress, action, volume)
        if action in WAITS:
            context.time.sleep(LOOK_SECONDS)
        seen = observe.look(context)
    raise _overdue(context, seen, progress.phase, sum(allowed.values()))


def find(context: Context) -> WarmCache:
    """The claim that was warmed with the staged model last; with its snapshot, where one is wanted. It copies nothing.

    Raises WarmingFailed where it was not: only a job on the volume could tell whether an older commit is whole.
    """
    throughput = claims.wanted_volume(context).throughput
    progress = Progress(
        limits(context.staged, throughput, context.environment, context.more_for_pull), context.time.clock()
    )
    seen = observe.look(context)
    volume = claims.wanted_volume(context, seen)
    if _decide(context, seen, progress, volume) is not Action.REUSE:
        raise WarmingFailed(
            f"{context.claim} was not warmed with {context.staged.repo} at {context.staged.commit[:12]} last",
            evidence=[f"on it: {commit}, {human_bytes(size)}" for commit, size in seen.held.items()],
            next_command=f"slipway deploy {context.model.name} -e {context.environment.name} --from-stage staging",
        )
    return snapshots.converge(context, _result(context, seen, progress, volume), volume)


def _served(context: Context) -> set[str]:
    """Commits that the namespace's Deployments and pods serve."""
    deployments = context.cluster.list("apps/v1", "Deployment", context.namespace)
    pods = objects.living(context.cluster.list("v1", "Pod", context.namespace))
    return observe.served_commits([*deployments, *pods])


def _decide(context: Context, seen: Seen, progress: Progress, volume: Volume) -> Action:
    rate = manifests.initialization_rate(context.model.cache)
    return decide(
        observe.claim_seen(seen, {volume.class_name("retain"), volume.class_name("retain", rate)}),
        observe.job_seen(seen, progress.watched),
        commit=context.staged.commit,
        manifest=context.staged.digest,
        needed_bytes=volume.size_gib * GIB,
    )


def _take(context: Context, seen: Seen, progress: Progress, action: Action, volume: Volume) -> None:
    """Take one step. Raises WarmingFailed."""
    match action:
        case Action.CREATE_CLAIM:
            claims.create(context, volume)
        case Action.EXPAND_CLAIM:
            size = f"{volume.size_gib}Gi"
            context.say(f"claim {context.claim} grows to {size}")
            body = {"spec": {"resources": {"requests": {"storage": size}}}}
            context.cluster.patch(*CLAIM, context.claim, body, context.namespace)
        case Action.REPLACE_CLAIM:
            context.say(
                f"claim {context.claim} is too small or of another class, and has no volume yet: it is made anew"
            )
            context.cluster.delete(*CLAIM, context.claim, context.namespace)
        case Action.START_JOB:
            _start_job(context, seen, progress)
        case Action.REPLACE_JOB:
            context.say(f"job {context.job} is from an earlier run: it is run again")
            context.cluster.delete(*JOB, context.job, context.namespace)
        case Action.WATCH_JOB:
            _watch(context, seen, progress)
        case Action.AWAIT_DELETION:
            _wait(context, seen, progress, "deleting")
        case Action.AWAIT_BINDING:
            _wait(context, seen, progress, "binding")
        case Action.AWAIT_GROWTH:
            _wait(context, seen, progress, "growing")
        case Action.RECORD:
            _record(context, seen, progress)
        case Action.FAIL_JOB:
            raise _job_failed(context, seen, progress)
        case Action.FAIL_CLAIM:
            raise failures.lost(context)


def _start_job(context: Context, seen: Seen, progress: Progress) -> None:
    users = observe.users_of(context.cluster.list("v1", "Pod", context.namespace), context.claim)
    node = objects.node_of(users[0]) if users else None
    if node:
        context.say(f"{context.claim} is in use on {node}: the job runs there, a volume has one node")
    snapshots.drop_uncut(context)
    job = manifests.job(
        context.environment,
        context.model,
        context.staged,
        needed=sorted(context.needed),
        node=node,
        seconds=sum(progress.limits.values()),
        grow_seconds=GROW_SECONDS if observe.file_system_lags(seen) else 0.0,
    )
    for document in manifests.for_namespace(context.environment):
        context.cluster.apply(document)
    progress.watched.add(context.cluster.apply(job)["metadata"]["uid"])
    _enter(context, progress, "creating")
    whole = human_bytes(context.staged.all_bytes)
    context.say(f"job {context.job} sees to {whole} on {context.claim}, and copies what is not there")


def _wait(context: Context, seen: Seen, progress: Progress, phase: Phase) -> None:
    """Wait for a deletion (a claim is gone once no pod mounts it any more), a binding or a larger volume."""
    if progress.phase != phase:
        _enter(context, progress, phase)
    _check_deadline(context, seen, progress)


def _watch(context: Context, seen: Seen, progress: Progress) -> None:
    """Pass the running job's progress on; raise what is wrong with it."""
    if seen.job is not None:
        progress.watched.add(seen.job["metadata"]["uid"])
    node = objects.node_of(seen.pod) if seen.pod else None
    node_is_lost = bool(node) and not objects.is_ready(context.cluster.get("v1", "Node", str(node)))
    phase = observe.pod_phase(seen.pod, seen.claim, node_is_lost=node_is_lost)
    if phase != progress.phase:
        _enter(context, progress, phase)
    if seen.pod is not None:
        _check_pod(context, seen, seen.pod, progress)
    _check_deadline(context, seen, progress)


def _check_pod(context: Context, seen: Seen, pod: Object, progress: Progress) -> None:
    elapsed = context.time.clock() - progress.since
    waiting = observe.waiting_reason(pod)
    if waiting and elapsed > UNPULLABLE_SECONDS:
        events = context.cluster.events(context.namespace, objects.name(pod))
        if problem := failures.unpullable(context, *waiting, events):
            raise problem
    if progress.phase == "scheduling" and elapsed > UNPLACEABLE_SECONDS and seen.volume:
        volume, zone = observe.ebs_of(seen.volume)
        nodes = objects.gpu_nodes(context.cluster, context.environment)
        if zones := observe.other_zones(zone, nodes):
            raise failures.another_zone(context, volume, zone, zones)
    if progress.phase != "running":
        return
    try:
        _tell(context, progress, observe.read_log(_logs(context, pod)))
    except ClusterError as error:
        # a node counts as Ready for 40 s after its last word; the deadline goes on
        _tell(context, progress, JobLog(notes=(f"the job's log cannot be read now: {error.cause}",)))
    if observe.is_hopeless(seen):
        raise _ended(context, pod)


def _record(context: Context, seen: Seen, progress: Progress) -> None:
    """Mark the claim after the job succeeded, so that the next run knows without a job. Raises WarmingFailed."""
    succeeded = [pod for pod in seen.pods if (observe.exit_of(pod) or (1, ""))[0] == 0]
    text = _logs(context, succeeded[-1]) if succeeded else ""
    log = observe.read_log(text)
    if log.done is None or log.done["commit"] != context.staged.commit:
        raise failures.said_nothing(context, text.splitlines())
    _tell(context, progress, log)
    progress.copied = int(log.done["bytes_copied"])
    context.say(
        f"{human_bytes(progress.copied) if progress.copied else 'nothing'} was copied to {context.claim}"
    )
    marks = {
        WARM: context.staged.commit,
        WARM_MANIFEST: context.staged.digest,
        HELD: json.dumps(log.done["held"]),
    }
    body = {"metadata": {"annotations": marks}}
    context.cluster.patch(*CLAIM, context.claim, body, context.namespace)


def _job_failed(context: Context, seen: Seen, progress: Progress) -> WarmingFailed:
    failed = [pod for pod in seen.pods if observe.exit_of(pod)]
    if failed:
        return _ended(context, failed[-1])
    return _overdue(context, seen, progress.phase, progress.limits[progress.phase])


def _ended(context: Context, pod: Object) -> WarmingFailed:
    code, reason = observe.exit_of(pod) or (1, "")
    text = _logs(context, pod)
    error = observe.read_log(text).error
    cause = str(error["cause"]) if error else None
    return failures.ended(context, code, reason, cause, text.splitlines())


def _logs(context: Context, pod: Object) -> str:
    return context.cluster.logs(context.namespace, objects.name(pod), CONTAINER, LOG_LINES)


def _tell(context: Context, progress: Progress, log: JobLog) -> None:
    if log.progress:
        context.reporter.progress(*log.progress)
    for lines, tell in ((log.files, context.reporter.detail), (log.notes, context.say)):
        for line in lines:
            if line not in progress.reported:
                progress.reported.add(line)
                tell(line)


def _enter(context: Context, progress: Progress, phase: Phase) -> None:
    progress.phase, progress.since = phase, context.time.clock()
    words: dict[Phase, str] = {
        "scheduling": "waiting for a GPU node",
        "volume": "waiting for the volume",
        "starting": f"starting {context.model.engine.image}",
        "running": "copying",
        "lost": "its node stopped answering: waiting for it or for another",
    }
    if phase in words:
        context.say(f"{words[phase]} (at most {human_seconds(progress.limits[phase])})")


def _check_deadline(context: Context, seen: Seen, progress: Progress) -> None:
    seconds = progress.limits[progress.phase]
    if context.time.clock() - progress.since > seconds:
        raise _overdue(context, seen, progress.phase, seconds)


def _overdue(context: Context, seen: Seen, phase: Phase, seconds: float) -> WarmingFailed:
    pod = objects.name(seen.pod) if seen.pod else None
    return failures.overdue(
        context,
        phase,
        seconds,
        pod=pod,
        pod_events=context.cluster.events(context.namespace, pod or context.job),
        claim_events=context.cluster.events(context.namespace, context.claim),
    )


def _result(context: Context, seen: Seen, progress: Progress, volume: Volume) -> WarmCache:
    if seen.volume is None:
        raise failures.lost(context)
    volume_id, zone = observe.ebs_of(seen.volume)
    claims.tell_differences(context, volume_id, volume)
    if progress.copied is None:
        context.say(f"{context.claim} holds {context.staged.commit[:12]} already")
    return WarmCache(
        namespace=context.namespace,
        claim=context.claim,
        path=cache_path(context.staged.repo, context.staged.commit),
        volume_id=volume_id,
        zone=zone,
        commit=context.staged.commit,
        bytes_copied=progress.copied or 0,
        reused=progress.copied is None,
    )
