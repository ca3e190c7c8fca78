"""Measure the start of a release's pods, report it beside the last one, and keep it with the release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.cloud.kubernetes import Cluster, KubernetesRefused
from tasks.records.names import VLLM
from tasks.releases.records import ReleaseRecord, Start
from tasks.rollout.context import RolloutContext
from tasks.rollout.start_phases import MARGIN, rows, shown, slower, start_phases

# of a log from its beginning; a start's lines are a few kilobytes
LOG_BYTES = 2**20


def read_start(context: RolloutContext, pods: Sequence[Mapping[str, Any]], cause: str) -> Start | None:
    """The longest start of these pods; None where there are none."""
    events = context.cluster.list("v1", "Event", context.namespace)
    starts = []
    for pod in pods:
        metadata = pod["metadata"]
        mine = [e for e in events if e.get("involvedObject", {}).get("name") == metadata["name"]]
        phases = start_phases(pod, mine, timed_log(context.cluster, pod))
        at = datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00"))
        starts.append(Start(at=at, cause=cause, phases=phases))
    return max(starts, key=lambda start: start.seconds, default=None)


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


def report_start(context: RolloutContext, release_id: str, start: Start, before: Start | None) -> None:
    """Report each phase beside the last start's, in the log and as a table, and what took notably longer."""
    context.reporter.say(f"cold start of release {release_id}: {shown(start, before)}")
    was = before.phases if before else {}
    for line in slower(start.phases, was):
        context.reporter.say(f"slower than the last start by more than {MARGIN:.0%}: {line}")
    title = f"Cold start of release {release_id}, {start.at:%Y-%m-%d %H:%M:%S} UTC ({start.cause})"
    context.show(f"start-{context.ledger.model}", rows(start.phases, was), title)


def remember(context: RolloutContext, release_id: str, pods: Sequence[Mapping[str, Any]], cause: str) -> None:
    """Report the start of these pods and keep it with their release, unless it is kept already."""
    start, record = read_start(context, pods, cause), context.ledger.find(release_id)
    if start is None or record is None or start.at in {one.at for one in record.starts}:
        return
    report_start(context, release_id, start, start_before(start, record))
    context.ledger.keep(record.with_start(start))
