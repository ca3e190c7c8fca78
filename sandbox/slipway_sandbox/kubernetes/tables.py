"""The columns `kubectl get` shows: Name and Age for every kind, and between them whether it is ready or in what state.

Cells follow k8s.io/kubernetes/pkg/printers/internalversion/printers.go (1.32); columns that printer has beside these, and
those a custom kind defines, are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway_sandbox.kubernetes import pod_status
from slipway_sandbox.kubernetes.resources import Key, Resource
from slipway_sandbox.kubernetes.store import Object

Cells = Callable[[Object], list[Any]]
Column = dict[str, Any]
AgeOf = Callable[[str], str]
_EVENT_COLUMNS = ("Last Seen", "Type", "Reason", "Object", "Message")


def layout(resource: Resource, age_of: AgeOf) -> tuple[list[Column], Cells]:
    """The columns of a kind, and the function that fills a row."""
    if resource.key == ("", "events"):
        return [_column(title) for title in _EVENT_COLUMNS], lambda event: _event(event, age_of)
    titles, printer = _PRINTERS.get(resource.key, ((), _nothing))

    def cells(object_: Object) -> list[Any]:
        metadata = object_["metadata"]
        return [metadata["name"], *printer(object_), age_of(metadata.get("creationTimestamp", ""))]

    return [_column(title) for title in ("Name", *titles, "Age")], cells


def _column(title: str) -> Column:
    form = "name" if title == "Name" else ""
    return {"name": title, "type": "string", "format": form, "description": title, "priority": 0}


def _nothing(_object: Object) -> list[Any]:
    return []


def _status(object_: Object) -> Object:
    status: Object = object_.get("status") or {}
    return status


def _phase(object_: Object) -> list[Any]:
    going = "deletionTimestamp" in object_["metadata"]
    return ["Terminating" if going else _status(object_).get("phase", "")]


def _pod(pod: Object) -> list[Any]:
    ready, total = pod_status.ready_count(pod)
    return [f"{ready}/{total}", pod_status.reason(pod), pod_status.restarts(pod)]


def _replicas(workload: Object) -> list[Any]:
    return [f"{_status(workload).get('readyReplicas', 0)}/{workload['spec'].get('replicas', 0)}"]


def _daemon_set(daemon_set: Object) -> list[Any]:
    status = _status(daemon_set)
    return [f"{status.get('numberReady', 0)}/{status.get('desiredNumberScheduled', 0)}"]


def _job(job: Object) -> list[Any]:
    conditions = {c["type"] for c in _status(job).get("conditions") or [] if c["status"] == "True"}
    state = next((word for word in ("Complete", "Failed") if word in conditions), "Running")
    return [state, f"{_status(job).get('succeeded', 0)}/{job['spec'].get('completions', 1)}"]


def _service(service: Object) -> list[Any]:
    ingress = (_status(service).get("loadBalancer") or {}).get("ingress") or []
    outside = ",".join(i.get("hostname") or i.get("ip", "") for i in ingress)
    return [service["spec"]["type"], service["spec"].get("clusterIP", ""), outside or "<none>"]


def _node(node: Object) -> list[Any]:
    ready = next((c["status"] for c in _status(node).get("conditions") or [] if c["type"] == "Ready"), None)
    state = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    return [state + (",SchedulingDisabled" if node["spec"].get("unschedulable") else "")]


def _event(event: Object, age_of: AgeOf) -> list[Any]:
    involved = event.get("involvedObject") or {}
    first = event.get("firstTimestamp") or event.get("eventTime") or ""
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or first
    return [
        age_of(last),
        event.get("type", ""),
        event.get("reason", ""),
        "/".join(filter(None, (involved.get("kind", "").lower(), involved.get("name", "")))),
        event.get("message", "").strip(),
    ]


_PRINTERS: dict[Key, tuple[tuple[str, ...], Cells]] = {
    ("", "pods"): (("Ready", "Status", "Restarts"), _pod),
    ("", "services"): (("Type", "Cluster-IP", "External-IP"), _service),
    ("", "nodes"): (("Status",), _node),
    ("", "namespaces"): (("Status",), _phase),
    ("", "persistentvolumeclaims"): (("Status",), _phase),
    ("", "persistentvolumes"): (("Status",), _phase),
    ("apps", "deployments"): (("Ready",), _replicas),
    ("apps", "replicasets"): (("Ready",), _replicas),
    ("apps", "statefulsets"): (("Ready",), _replicas),
    ("apps", "daemonsets"): (("Ready",), _daemon_set),
    ("batch", "jobs"): (("Status", "Completions"), _job),
}
