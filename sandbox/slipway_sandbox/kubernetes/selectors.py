"""Label selectors (query strings and LabelSelector objects) and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from slipway_sandbox.kubernetes import errors

Labels = Mapping[str, str]
Predicate = Callable[[Labels], bool]

_KEY = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<missing>{_KEY})"
    rf"|(?P<key>{_KEY})\s*(?:(?P<set>\bin\b|\bnotin\b)\s*\((?P<values>[^)]*)\)"
    rf"|(?P<equality>!=|==|=)\s*(?P<value>[-A-Za-z0-9_.]*))?)\s*(?:,|$)"
)


def parse_labels(text: str) -> Predicate:
    """A `labelSelector` query: `a=b,c!=d,e in (f,g),h,!i`. Raises ApiStatus 400."""
    terms: list[Predicate] = []
    position = 0
    while position < len(text):
        term = _TERM.match(text, position)
        if term is None or term.end() == position:
            raise errors.bad_request(f"unable to parse requirement: found '{text[position:].strip()}'")
        terms.append(_label_term(term))
        position = term.end()
    return lambda labels: all(term(labels) for term in terms)


def _label_term(term: re.Match[str]) -> Predicate:
    if term["absent"]:
        missing = term["missing"]
        return lambda labels: missing not in labels
    key = term["key"]
    if term["set"]:
        values = {value.strip() for value in term["values"].split(",")}
        if term["set"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if term["equality"]:
        value = term["value"]
        if term["equality"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    return lambda labels: key in labels


def matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """A LabelSelector object; None selects nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(e, labels) for e in selector.get("matchExpressions") or [])


def _expression(expression: Mapping[str, Any], labels: Labels) -> bool:
    key, operator = str(expression["key"]), str(expression["operator"])
    values: list[str] = expression.get("values") or []
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) is (operator == "Exists")


def to_string(selector: Mapping[str, Any] | None) -> str:
    """As the scale subresource shows it: `app=web,tier in (a,b)`."""
    if not selector:
        return ""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for e in selector.get("matchExpressions") or []:
        values = ",".join(e.get("values") or [])
        form = {
            "In": f"{e['key']} in ({values})",
            "NotIn": f"{e['key']} notin ({values})",
            "Exists": e["key"],
            "DoesNotExist": f"!{e['key']}",
        }
        terms.append(form[e["operator"]])
    return ",".join(terms)


# Which fields a kind can be selected by, beyond metadata.name and metadata.namespace
# (k8s.io/kubernetes/pkg/apis/*/v1/conversion.go and the strategies' SelectableFields).
_POD = "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName status.phase status.podIP status.nominatedNodeName spec.hostNetwork"
_INVOLVED = "kind namespace name uid apiVersion resourceVersion fieldPath"
_FIELDS: dict[tuple[str, str], frozenset[str]] = {
    ("", "pods"): frozenset(_POD.split()),
    ("", "nodes"): frozenset({"spec.unschedulable"}),
    ("", "namespaces"): frozenset({"status.phase"}),
    ("", "secrets"): frozenset({"type"}),
    ("", "services"): frozenset({"spec.clusterIP", "spec.type"}),
    ("", "events"): frozenset(
        {f"involvedObject.{f}" for f in _INVOLVED.split()}
        | {"reason", "type", "source", "reportingComponent"}
    ),
    ("apps", "replicasets"): frozenset({"status.replicas"}),
    ("batch", "jobs"): frozenset({"status.successful"}),
}

ObjectPredicate = Callable[[Mapping[str, Any]], bool]


def parse_fields(key: tuple[str, str], text: str) -> ObjectPredicate:
    """A `fieldSelector` query: `a.b=c,d!=e`. Raises ApiStatus 400 for a field the kind cannot be selected by."""
    allowed = _FIELDS.get(key, frozenset()) | {"metadata.name", "metadata.namespace"}
    terms: list[tuple[str, str, bool]] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        field, equality, value = re.match(r"([^!=]*)(!=|==|=)?(.*)", part).groups("")  # type: ignore[union-attr]
        if not equality:
            raise errors.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        if field not in allowed:
            raise errors.bad_request(f"field label not supported: {field}")
        terms.append((field, value, equality != "!="))
    return lambda object_: all((_field(object_, f) == value) == wanted for f, value, wanted in terms)


def _field(object_: Mapping[str, Any], path: str) -> str:
    value: Any = object_
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        value = value.get("component")  # Event's `source` means source.component
    if value is None:
        return "false" if path in ("spec.unschedulable", "spec.hostNetwork") else ""
    return str(value).lower() if isinstance(value, bool) else str(value)
