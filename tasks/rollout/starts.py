"""The ledger of starts: how long each start of a release took, kept with the release and told beside the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.cloud.kubernetes import Cluster, KubernetesRefused
from tasks.releases.records import ReleaseRecord, Start
from tasks.rollout.place import Place
from tasks.rollout.start import MARGIN, rows, shown, slower, start_phases

LOG_BYTES = 2**20  # of a pod's log from its beginning: a start's lines are a few kilobytes


def read_start(place: Place, pods: Sequence[Mapping[str, Any]], cause: str) -> Start | None:
    """The start of these pods that took longest; None where no pod tells anything."""
    events = place.cluster.list("v1", "Event", place.environment.namespace)
    starts = []
    for pod in pods:
        metadata = pod["metadata"]
        mine = [e for e in events if e.get("involvedObject", {}).get("name") == metadata["name"]]
        phases = start_phases(pod, mine, timed_log(place.cluster, pod))
        at = datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00"))
        starts.append(Start(at=at, cause=cause, phases=phases))
    return max(starts, key=lambda start: start.seconds, default=None)


def timed_log(cluster: Cluster, pod: Mapping[str, Any]) -> list[str]:
    """The beginning of a pod's log, a time before each line. A container that has not started, or whose node does not
    answer now, has none: the log is evidence of how long things took, not whether they did."""
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
    query = {"container": "vllm", "timestamps": "true", "limitBytes": LOG_BYTES}
    try:
        return cluster.raw("GET", path, query).splitlines()
    except KubernetesRefused as error:
        if error.status < 500 and error.status not in (400, 404):
            raise
        return []


def start_before(start: Start, *records: ReleaseRecord | None) -> Start | None:
    """The last start before this one, of the first record that has any; one of the same cause where there is one: a
    wake meets a new node without the image, a rollout does not. Pure."""
    for record in records:
        earlier = [one for one in record.starts if one.at < start.at] if record else []
        if earlier:
            return max(earlier, key=lambda one: (one.cause == start.cause, one.at))
    return None


def tell_start(place: Place, release_id: str, start: Start, before: Start | None) -> None:
    """In the run's log and as a table: each phase, beside the last time, and what took notably longer."""
    place.reporter.say(f"cold start of release {release_id}: {shown(start, before)}")
    was = before.phases if before else {}
    for line in slower(start.phases, was):
        place.reporter.say(f"slower than the last start by more than {MARGIN:.0%}: {line}")
    title = f"Cold start of release {release_id}, {start.at:%Y-%m-%d %H:%M:%S} UTC ({start.cause})"
    place.show(f"start-{place.ledger.model}", rows(start.phases, was), title)


def remember(place: Place, release_id: str, pods: Sequence[Mapping[str, Any]], cause: str) -> None:
    """Tell the start of these pods and keep it with their release; nothing where it is known already."""
    start, record = read_start(place, pods, cause), place.ledger.find(release_id)
    if start is None or record is None or start.at in {one.at for one in record.starts}:
        return
    tell_start(place, release_id, start, start_before(start, record))
    place.ledger.keep(record.with_start(start))
