"""Measure the start of a release's pods, report it beside the last one, and keep it with the release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tasks.cloud import karpenter, objects
from tasks.cloud.kubernetes import Cluster, KubernetesRefused, Object
from tasks.cloud.scaling import KEDA
from tasks.records.names import VLLM, WAKE_ANNOTATION
from tasks.records.quantities import human_seconds
from tasks.records.starts import Budgeted, over_budget
from tasks.releases.records import BY_REQUEST, BY_SCALER, ReleaseRecord, Start
from tasks.rollout import compile_cache
from tasks.rollout.context import RolloutContext
from tasks.rollout.start_phases import MARGIN, Beside, pod_created, rows, shown, slower, start_phases

# of a log from its beginning; a start's lines are a few kilobytes
LOG_BYTES = 2**20
# from a wake to the pods it asks for; one by a flow brings the nodes first
WAKE_LASTS, FLOW_LASTS = timedelta(minutes=1), timedelta(hours=1)
FIRST_TOKEN = "first token"  # noqa: S105 a phase
Budgets = Mapping[Budgeted, float]


def read_starts(context: RolloutContext, pods: Sequence[Object], cause: str) -> list[Start]:
    """The start of each of these pods. `cause`: what made them, unless a request woke the model."""
    events = context.cluster.list("v1", "Event", context.namespace)
    found = []
    for pod in pods:
        mine = [e for e in events if e.get("involvedObject", {}).get("name") == objects.name(pod)]
        seen = beside(context, pod)
        log = timed_log(context.cluster, pod)
        found.append(
            Start(
                at=pod_created(pod),
                cause=BY_REQUEST if seen.decided else cause,
                phases=start_phases(pod, mine, log, seen),
                compile_cache=compile_cache.said(log),
            )
        )
    return found


def longest(starts: Sequence[Start]) -> Start | None:
    """The one that was waited for; None where there is none."""
    return max(starts, key=lambda start: start.seconds, default=None)


def beside(context: RolloutContext, pod: Object) -> Beside:
    """What else the cluster shows of a pod's start: its node and NodeClaim, and the wake that asked for it."""
    node = objects.node_of(pod)
    [claimed] = [
        one["metadata"]["creationTimestamp"]
        for one in karpenter.claims(context.cluster)
        if node and objects.status(one).get("nodeName") == node
    ][:1] or [None]
    found = context.cluster.get("v1", "Node", node) if node else None
    ready = objects.condition(found, "Ready")
    scaled = context.cluster.get(*KEDA, f"{VLLM}-{context.ledger.model}", context.namespace)
    wake = json.loads(objects.annotations(scaled).get(WAKE_ANNOTATION, "{}"))
    if not is_of(wake, pod_created(pod)):
        wake = {}
    return Beside(
        decided=_time(wake.get("at")),
        claimed=_time(claimed),
        node_ready=_time(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
        first_token=_time(wake.get("first_token")),
    )


def is_of(wake: Mapping[str, str], created: datetime) -> bool:
    """Whether a wake asked for the pod that was made then. A pod's time has whole seconds, a wake's has not. Pure."""
    at, lasts = _time(wake.get("at")), FLOW_LASTS if wake.get("by") == "flow" else WAKE_LASTS
    return at is not None and timedelta(seconds=-1) <= created - at <= lasts


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def timed_log(cluster: Cluster, pod: Mapping[str, Any]) -> list[str]:
    """The beginning of a pod's log, each line after its time.

    Empty where the container has not started or its node does not answer: the log only shows how long a start took.
    """
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
    query = {"container": VLLM, "timestamps": "true", "limitBytes": LOG_BYTES}
    try:
        return cluster.raw("GET", path, query).splitlines()
    except KubernetesRefused as error:
        if error.status < 500 and error.status not in (400, 404):
            raise
        return []


def start_before(start: Start, *records: ReleaseRecord | None) -> Start | None:
    """The last start before this one, of the first record that has any. Pure.

    One of the same cause where there is one: a wake meets a new node without the image, a rollout does not.
    """
    for record in records:
        earlier = [one for one in record.starts if one.at < start.at] if record else []
        if earlier:
            return max(earlier, key=lambda one: (one.cause == start.cause, one.at))
    return None


def report_start(
    context: RolloutContext, release_id: str, start: Start, before: Start | None, budgets: Budgets
) -> None:
    """Report each phase beside the last start's, in the log and as a table, what took notably longer, and what too long."""
    context.reporter.say(f"cold start of release {release_id}: {shown(start, before)}")
    if line := told_cache(start):
        context.reporter.say(f"cold start of release {release_id}: {line}")
    was = before.phases if before else {}
    for line in slower(start.phases, was):
        context.reporter.say(f"slower than the last start by more than {MARGIN:.0%}: {line}")
    for line in over_budget(start.phases, budgets):
        context.reporter.warn(f"cold start of release {release_id}: {line}")
    title = f"Cold start of release {release_id}, {start.at:%Y-%m-%d %H:%M:%S} UTC ({start.cause})"
    context.show(f"start-{context.ledger.model}", rows(start.phases, was), title)


def told_cache(start: Start) -> str:
    """What a start's compile cache did; "" where it had none."""
    cache = start.compile_cache
    if cache is None:
        return ""
    if not cache.again:
        return f"what it compiled is kept for the next start (key {cache.key})"
    took = (
        f", {human_seconds(start.saved)} less than the start that made it" if start.saved is not None else ""
    )
    return f"compiled code of an earlier start is used again (key {cache.key}){took}"


def remember(
    context: RolloutContext, release_id: str, pods: Sequence[Object], cause: str, budgets: Budgets
) -> None:
    """Report the start of these pods and keep each with their release, unless it is kept already."""
    record = context.ledger.find(release_id)
    starts = read_starts(context, pods, cause)
    start = longest(starts)
    if start is None or record is None or start.at in {one.at for one in record.starts}:
        return
    report_start(context, release_id, start.after(record.starts), start_before(start, record), budgets)
    for one in starts:
        record = record.with_start(one)
    context.ledger.keep(record)


def is_open(known: Start | None) -> bool:
    """Whether there is more to learn of a start: nothing is kept of it, or not yet the first token it was asked for. Pure."""
    return known is None or (known.cause == BY_REQUEST and FIRST_TOKEN not in known.phases)


def keep_unknown(
    context: RolloutContext, release_id: str, pods: Sequence[Object], budgets: Budgets
) -> list[Start]:
    """Report and keep the starts that no flow waited for: of pods that a scaler or a request brought. Those it kept.

    One whose first token came after it was kept is kept anew.
    """
    record = context.ledger.find(release_id)
    if record is None:
        return []
    known = {one.at: one for one in record.starts}
    fresh = []
    for one in read_starts(context, [pod for pod in pods if is_open(known.get(pod_created(pod)))], BY_SCALER):
        if one.at not in known:
            report_start(context, release_id, one.after(record.starts), start_before(one, record), budgets)
        elif FIRST_TOKEN not in one.phases:
            continue
        record = record.with_start(one)
        fresh.append(one)
    if fresh:
        context.ledger.keep(record)
    return fresh
