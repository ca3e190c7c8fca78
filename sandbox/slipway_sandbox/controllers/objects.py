"""Kubernetes objects as they are on the wire: names of collections, owners, conditions, selectors, times, quantities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); the namespace of a cluster-scoped object is ""."""


@dataclass(frozen=True)
class Resource:
    """One collection of the API: `api` is "v1" or "group/version"."""

    api: str
    plural: str
    kind: str
    namespaced: bool = True


PODS = Resource("v1", "pods", "Pod")
NODES = Resource("v1", "nodes", "Node", namespaced=False)
SERVICES = Resource("v1", "services", "Service")
NAMESPACES = Resource("v1", "namespaces", "Namespace", namespaced=False)
SERVICE_ACCOUNTS = Resource("v1", "serviceaccounts", "ServiceAccount")
CLAIMS = Resource("v1", "persistentvolumeclaims", "PersistentVolumeClaim")
VOLUMES = Resource("v1", "persistentvolumes", "PersistentVolume", namespaced=False)
EVENTS = Resource("v1", "events", "Event")
DEPLOYMENTS = Resource("apps/v1", "deployments", "Deployment")
REPLICA_SETS = Resource("apps/v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps/v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("apps/v1", "daemonsets", "DaemonSet")
REVISIONS = Resource("apps/v1", "controllerrevisions", "ControllerRevision")
JOBS = Resource("batch/v1", "jobs", "Job")
DISRUPTION_BUDGETS = Resource("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget")
ENDPOINT_SLICES = Resource("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
STORAGE_CLASSES = Resource("storage.k8s.io/v1", "storageclasses", "StorageClass", namespaced=False)
LEASES = Resource("coordination.k8s.io/v1", "leases", "Lease")
DEFINITIONS = Resource(
    "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)


def key_of(item: Object) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def name_of(item: Object) -> str:
    return str(item["metadata"]["name"])


def uid_of(item: Object) -> str:
    return str(item["metadata"]["uid"])


def labels_of(item: Object) -> dict[str, str]:
    return item["metadata"].get("labels") or {}


def annotations_of(item: Object) -> dict[str, str]:
    return item["metadata"].get("annotations") or {}


def status_of(item: Object) -> Object:
    return item.get("status") or {}


def is_deleting(item: Object) -> bool:
    return bool(item["metadata"].get("deletionTimestamp"))


def version_of(item: Object) -> int:
    """The resourceVersion as a number; versions of one collection are comparable (KEP-5504)."""
    return int(item["metadata"].get("resourceVersion") or 0)


def owners_of(item: Object) -> list[Object]:
    return item["metadata"].get("ownerReferences") or []


def controller_of(item: Object) -> Object | None:
    """The one owner reference that is marked as the controller."""
    return next((owner for owner in owners_of(item) if owner.get("controller")), None)


def controller_reference(owner: Object, resource: Resource) -> Object:
    return {
        "apiVersion": resource.api,
        "kind": resource.kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def timestamp(moment: datetime) -> str:
    """metav1.Time: RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise_timestamp(moment: datetime) -> str:
    """metav1.MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def condition_of(item: Object, kind: str) -> Object | None:
    return next((c for c in status_of(item).get("conditions") or [] if c["type"] == kind), None)


def condition_is(item: Object, kind: str, status: str = "True") -> bool:
    condition = condition_of(item, kind)
    return condition is not None and condition["status"] == status


def with_condition(conditions: Iterable[Object], new: Object) -> list[Object]:
    """The list with `new` in it; its lastTransitionTime is kept while the status stays as it was."""
    kept = list(conditions)
    for index, old in enumerate(kept):
        if old["type"] != new["type"]:
            continue
        if old["status"] == new["status"] and "lastTransitionTime" in old:
            new = new | {"lastTransitionTime": old["lastTransitionTime"]}
        kept[index] = new
        return kept
    return [*kept, new]


def matches_selector(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """A metav1.LabelSelector; None selects nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(matches_expression(term, labels) for term in selector.get("matchExpressions") or [])


def matches_expression(term: Object, labels: Mapping[str, str]) -> bool:
    """One requirement of a label or node selector: In, NotIn, Exists, DoesNotExist, Gt, Lt."""
    name, operator, values = term["key"], term["operator"], term.get("values") or []
    value = labels.get(name)
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator in ("Gt", "Lt"):
        try:
            have, bound = int(value or ""), int(values[0])
        except (ValueError, IndexError):
            return False
        return have > bound if operator == "Gt" else have < bound
    raise ValueError(f"unknown selector operator {operator!r}")


_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}


@lru_cache(maxsize=4096)
def quantity(text: str | int | float) -> Decimal:
    """A resource.Quantity ("500m", "1Gi", "2e3") as a number. Raises decimal.InvalidOperation for anything else."""
    text = str(text)
    for suffix in (text[-2:], text[-1:]):
        if suffix in _SUFFIXES:
            return Decimal(text[: -len(suffix)]) * _SUFFIXES[suffix]
    return Decimal(text)


def scaled_value(value: int | str | None, total: int, *, round_up: bool, default: int | str) -> int:
    """An IntOrString: a number as it is, a percentage of `total` rounded as asked."""
    value = default if value is None else value
    if isinstance(value, str) and value.endswith("%"):
        scaled = int(value[:-1]) * total
        return -(-scaled // 100) if round_up else scaled // 100
    return int(value)


_SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery/pkg/util/rand: no vowels, no look-alikes


def short_hash(value: Any, length: int = 10) -> str:
    """A stable name suffix for a template, in the alphabet Kubernetes uses for them."""
    digest = int.from_bytes(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:16], "big")
    letters = []
    for _ in range(length):
        digest, index = divmod(digest, len(_SAFE_ALPHABET))
        letters.append(_SAFE_ALPHABET[index])
    return "".join(letters)
