"""Server-side printing: the columns `kubectl get` shows.

Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go (1.32); custom resources bring their own columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway_sandbox.kubernetes import pod_status
from slipway_sandbox.kubernetes.durations import duration, parse_time
from slipway_sandbox.kubernetes.json_paths import json_path
from slipway_sandbox.kubernetes.resources import Key, Resource
from slipway_sandbox.kubernetes.store import Object

Cells = Callable[[Object], list[Any]]
Column = dict[str, Any]
AgeOf = Callable[[str], str]
Printer = Callable[[Object, AgeOf], list[Any]]


def layout(resource: Resource, age_of: AgeOf) -> tuple[list[Column], Cells]:
    """The columns of a kind and the function that fills a row. Every table starts with Name and has an Age."""
    if resource.custom is not None and resource.custom.columns:
        return _custom_layout(resource, age_of)
    if resource.key == ("", "events") or resource.group == "events.k8s.io":
        return [_column(title) for title in _EVENT_COLUMNS], lambda event: _event(event, age_of)
    plain = ("", _nothing) if resource.custom else ("Created At", _created)
    names, printer = _PRINTERS.get(resource.key, plain)
    titles = ["Name", *filter(None, names.split("|"))]
    if "Age" not in titles and "Created At" not in titles:
        titles.append("Age")
    columns = [_column(title) for title in titles]
    for column in columns:
        if column["name"] == "Created At" or (column["name"] == "Age" and resource.custom):
            column["type"] = "date"

    def cells(object_: Object) -> list[Any]:
        row = [object_["metadata"]["name"], *printer(object_, age_of)]
        age = age_of(object_["metadata"].get("creationTimestamp", ""))
        return [age if cell is _AGE else cell for cell in row] if _AGE in row else [*row, age][: len(titles)]

    return columns, cells


_AGE = object()  # stands where the age goes when it is not the last column


def _column(title: str) -> Column:
    """A trailing `*` marks a column of `-o wide`, `#` one of whole numbers, `?` one of booleans."""
    name, wide = title.rstrip("*#?"), title.endswith("*")
    form, kind = "name" if name == "Name" else "", {"#": "integer", "?": "boolean"}.get(title[-1], "string")
    return {"name": name, "type": kind, "format": form, "description": name, "priority": int(wide)}


def _created(object_: Object, _age_of: AgeOf) -> list[Any]:
    """Kinds without columns of their own show when they were made."""
    return [object_["metadata"]["creationTimestamp"]]


def _nothing(_object: Object, _age_of: AgeOf) -> list[Any]:
    return []


# ---------------------------------------------------------------------------------------------- custom resources


def _custom_layout(resource: Resource, age_of: AgeOf) -> tuple[list[Column], Cells]:
    columns = [_column("Name")]
    columns += [
        {
            "name": extra["name"],
            "type": extra["type"],
            "format": extra.get("format", ""),
            "description": extra.get("description", ""),
            "priority": extra.get("priority", 0),
        }
        for extra in resource.custom.columns
    ]

    def cells(object_: Object) -> list[Any]:
        row = [object_["metadata"]["name"]]
        for extra in resource.custom.columns:
            value = json_path(object_, extra["jsonPath"])
            row.append(age_of(value) if extra["type"] == "date" and isinstance(value, str) else value)
        return row

    return columns, cells


# ---------------------------------------------------------------------------------------------- built-in kinds


def _status(object_: Object) -> Object:
    status: Object = object_.get("status") or {}
    return status


def _containers(template: Object) -> list[str]:
    containers = template["spec"]["containers"]
    return [",".join(c["name"] for c in containers), ",".join(c["image"] for c in containers)]


def _labels(labels: Object | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def _selector(object_: Object) -> str:
    return _labels((object_["spec"].get("selector") or {}).get("matchLabels"))


def _pod(pod: Object, age_of: AgeOf) -> list[Any]:
    status, spec = _status(pod), pod["spec"]
    ready, total = pod_status.ready_count(pod)
    return [
        f"{ready}/{total}",
        pod_status.reason(pod),
        pod_status.restarts(pod, age_of),
        _AGE,
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        "<none>",
    ]


def _deployment(deployment: Object, _age_of: AgeOf) -> list[Any]:
    status, spec = _status(deployment), deployment["spec"]
    return [
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _AGE,
        *_containers(spec["template"]),
        _selector(deployment),
    ]


def _replica_set(replica_set: Object, _age_of: AgeOf) -> list[Any]:
    status, spec = _status(replica_set), replica_set["spec"]
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [*counts, _AGE, *_containers(spec["template"]), _selector(replica_set)]


def _stateful_set(stateful_set: Object, _age_of: AgeOf) -> list[Any]:
    status, spec = _status(stateful_set), stateful_set["spec"]
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [ready, _AGE, *_containers(spec["template"])]


def _daemon_set(daemon_set: Object, _age_of: AgeOf) -> list[Any]:
    status, spec = _status(daemon_set), daemon_set["spec"]
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    selector = _labels(spec["template"]["spec"].get("nodeSelector"))
    return [
        *(status.get(c, 0) for c in counts),
        selector,
        _AGE,
        *_containers(spec["template"]),
        _selector(daemon_set),
    ]


def _job(job: Object, age_of: AgeOf) -> list[Any]:
    status, spec = _status(job), job["spec"]
    conditions = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
    state = next((c for c in ("Complete", "Failed") if c in conditions), "")
    if not state and "deletionTimestamp" in job["metadata"]:
        state = "Terminating"
    later = (
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    )
    state = state or next((word for kind, word in later if kind in conditions), "Running")
    took = ""
    if started := status.get("startTime"):
        took = age_of(started)
        if done := status.get("completionTime"):
            took = duration(int((parse_time(done) - parse_time(started)).total_seconds()))
    done_of = f"{status.get('succeeded', 0)}/{spec.get('completions', 1)}"
    if "completions" not in spec and (parallel := spec.get("parallelism", 0)) > 1:
        done_of += f" of {parallel}"
    return [state, done_of, took, _AGE, *_containers(spec["template"]), _selector(job)]


def _service(service: Object, _age_of: AgeOf) -> list[Any]:
    spec = service["spec"]
    ingress = (_status(service).get("loadBalancer") or {}).get("ingress") or []
    outside = ",".join(i.get("hostname") or i.get("ip", "") for i in ingress)
    external = outside or ("<pending>" if spec["type"] == "LoadBalancer" else "<none>")
    if spec["type"] == "ExternalName":
        external = spec["externalName"]
    ports = ",".join(
        f"{p['port']}:{p['nodePort']}/{p['protocol']}"
        if p.get("nodePort")
        else f"{p['port']}/{p['protocol']}"
        for p in spec.get("ports") or []
    )
    return [
        spec["type"],
        spec.get("clusterIP") or "<none>",
        external,
        ports or "<none>",
        _AGE,
        _labels(spec.get("selector")),
    ]


def _node(node: Object, _age_of: AgeOf) -> list[Any]:
    status, labels = _status(node), node["metadata"].get("labels") or {}
    ready = next((c["status"] for c in status.get("conditions") or [] if c["type"] == "Ready"), None)
    state = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    if node["spec"].get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or "<none>"
    addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
    info = status.get("nodeInfo") or {}
    return [
        state,
        roles,
        _AGE,
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _claim(claim: Object, _age_of: AgeOf) -> list[Any]:
    status, spec = _status(claim), claim["spec"]
    phase = "Terminating" if "deletionTimestamp" in claim["metadata"] else status.get("phase", "")
    bound = bool(spec.get("volumeName"))
    return [
        phase,
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName", "<unset>"),
        _AGE,
        spec.get("volumeMode", "<unset>"),
    ]


def _modes(modes: list[str] | None) -> str:
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    return ",".join(short.get(mode, mode) for mode in modes or [])


def _volume(volume: Object, _age_of: AgeOf) -> list[Any]:
    status, spec = _status(volume), volume["spec"]
    claim = spec.get("claimRef")
    return [
        (spec.get("capacity") or {}).get("storage", ""),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if "deletionTimestamp" in volume["metadata"] else status.get("phase", ""),
        f"{claim['namespace']}/{claim['name']}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName", "<unset>"),
        status.get("reason", ""),
        _AGE,
        spec.get("volumeMode", "<unset>"),
    ]


def _storage_class(item: Object, _age_of: AgeOf) -> list[Any]:
    expands = item.get("allowVolumeExpansion", False)
    return [item["provisioner"], item.get("reclaimPolicy"), item.get("volumeBindingMode"), expands]


def _csi_driver(item: Object, _age_of: AgeOf) -> list[Any]:
    spec = item["spec"]
    audiences = [request.get("audience", "") for request in spec.get("tokenRequests") or []]
    return [
        spec["attachRequired"],
        spec["podInfoOnMount"],
        spec["storageCapacity"],
        ",".join(audiences) or "<unset>",
        spec["requiresRepublish"],
        ",".join(spec["volumeLifecycleModes"]),
    ]


def _volume_attachment(item: Object, _age_of: AgeOf) -> list[Any]:
    spec = item["spec"]
    volume = spec["source"].get("persistentVolumeName", "")
    return [spec["attacher"], volume, spec["nodeName"], _status(item).get("attached", False)]


def _revision(item: Object, _age_of: AgeOf) -> list[Any]:
    owners = item["metadata"].get("ownerReferences") or []
    owner = next((o for o in owners if o.get("controller")), None)
    group = f".{owner['apiVersion'].partition('/')[0]}" if owner and "/" in owner["apiVersion"] else ""
    return [f"{owner['kind'].lower()}{group}/{owner['name']}" if owner else "<none>", item["revision"]]


def _budget(item: Object, _age_of: AgeOf) -> list[Any]:
    spec = item.get("spec") or {}
    return [
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        _status(item).get("disruptionsAllowed", 0),
    ]


_EVENT_COLUMNS = [
    "Last Seen",
    "Type",
    "Reason",
    "Object",
    "Subobject*",
    "Source*",
    "Message",
    "First Seen*",
    "Count*",
    "Name*",
]


def _event(event: Object, age_of: AgeOf) -> list[Any]:
    who, source, series = (event.get(key) or {} for key in ("involvedObject", "source", "series"))
    first = event.get("firstTimestamp") or event.get("eventTime")
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    component = source.get("component") or event.get("reportingComponent", "")
    instance = source.get("host") or event.get("reportingInstance", "")
    return [
        age_of(last) if last else "<unknown>",
        event.get("type", ""),
        event.get("reason", ""),
        "/".join(filter(None, (who.get("kind", "").lower(), who.get("name", "")))),
        who.get("fieldPath", ""),
        f"{component}, {instance}" if instance else component,
        event.get("message", "").strip(),
        age_of(first) if first else "<unknown>",
        series.get("count") or event.get("count") or 1,
        event["metadata"]["name"],
    ]


def _endpoints(endpoints: Object, _age_of: AgeOf) -> list[Any]:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in endpoints.get("subsets") or []
        for address in subset.get("addresses") or []
        for port in subset.get("ports") or []
    ]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return [(",".join(found[:3]) + more) or "<none>"]


def _endpoint_slice(item: Object, _age_of: AgeOf) -> list[Any]:
    ports = ",".join(str(p.get("port", "*")) for p in item.get("ports") or []) or "<unset>"
    addresses = ",".join(a for e in item.get("endpoints") or [] for a in e["addresses"]) or "<unset>"
    return [item["addressType"], ports, addresses]


def _role_binding(item: Object, _age_of: AgeOf) -> list[Any]:
    found: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in item.get("subjects") or []:
        home = f"{subject.get('namespace', '')}/" if subject["kind"] == "ServiceAccount" else ""
        found[subject["kind"]].append(home + subject["name"])
    return [f"{item['roleRef']['kind']}/{item['roleRef']['name']}", _AGE, *map(", ".join, found.values())]


_BINDING_COLUMNS = "Role|Age|Users*|Groups*|ServiceAccounts*"


_PRINTERS: dict[Key, tuple[str, Printer]] = {
    ("", "pods"): ("Ready|Status|Restarts|Age|IP*|Node*|Nominated Node*|Readiness Gates*", _pod),
    ("", "services"): ("Type|Cluster-IP|External-IP|Port(s)|Age|Selector*", _service),
    ("", "nodes"): (
        "Status|Roles|Age|Version|Internal-IP*|External-IP*|OS-Image*|Kernel-Version*|Container-Runtime*",
        _node,
    ),
    ("", "namespaces"): ("Status", lambda n, _: [_status(n).get("phase", "")]),
    ("", "configmaps"): ("Data", lambda c, _: [len(c.get("data") or {}) + len(c.get("binaryData") or {})]),
    ("", "secrets"): ("Type|Data", lambda s, _: [s.get("type", ""), len(s.get("data") or {})]),
    ("", "serviceaccounts"): ("Secrets", lambda s, _: [len(s.get("secrets") or [])]),
    ("", "endpoints"): ("Endpoints", _endpoints),
    ("", "persistentvolumeclaims"): (
        "Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|VolumeMode*",
        _claim,
    ),
    ("", "persistentvolumes"): (
        "Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|VolumeMode*",
        _volume,
    ),
    ("apps", "deployments"): ("Ready|Up-to-date|Available|Age|Containers*|Images*|Selector*", _deployment),
    ("apps", "replicasets"): ("Desired#|Current#|Ready#|Age|Containers*|Images*|Selector*", _replica_set),
    ("apps", "statefulsets"): ("Ready|Age|Containers*|Images*", _stateful_set),
    ("apps", "daemonsets"): (
        "Desired#|Current#|Ready#|Up-to-date#|Available#|Node Selector|Age|Containers*|Images*|Selector*",
        _daemon_set,
    ),
    ("batch", "jobs"): ("Status|Completions|Duration|Age|Containers*|Images*|Selector*", _job),
    ("storage.k8s.io", "storageclasses"): (
        "Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion?",
        _storage_class,
    ),
    ("storage.k8s.io", "csidrivers"): (
        "AttachRequired?|PodInfoOnMount?|StorageCapacity?|TokenRequests|RequiresRepublish?|Modes",
        _csi_driver,
    ),
    ("storage.k8s.io", "csinodes"): ("Drivers#", lambda n, _: [len(n["spec"].get("drivers") or [])]),
    ("storage.k8s.io", "volumeattachments"): ("Attacher|PV|Node|Attached?", _volume_attachment),
    ("apps", "controllerrevisions"): ("Controller|Revision#", _revision),
    ("policy", "poddisruptionbudgets"): ("Min Available|Max Unavailable|Allowed Disruptions#", _budget),
    ("networking.k8s.io", "networkpolicies"): (
        "Pod-Selector",
        lambda p, _: [_labels((p["spec"].get("podSelector") or {}).get("matchLabels"))],
    ),
    ("discovery.k8s.io", "endpointslices"): ("AddressType|Ports|Endpoints", _endpoint_slice),
    ("coordination.k8s.io", "leases"): (
        "Holder",
        lambda item, _: [(item.get("spec") or {}).get("holderIdentity", "")],
    ),
    ("rbac.authorization.k8s.io", "rolebindings"): (_BINDING_COLUMNS, _role_binding),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): (_BINDING_COLUMNS, _role_binding),
    ("scheduling.k8s.io", "priorityclasses"): (
        "Value#|Global-Default?|Age|PreemptionPolicy",
        lambda p, _: [p["value"], p.get("globalDefault", False), _AGE, p.get("preemptionPolicy", "")],
    ),
}
