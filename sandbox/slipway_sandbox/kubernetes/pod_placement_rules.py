"""Validation of where a pod wants to be: affinity, spreading. Source: k8s.io/kubernetes/pkg/apis/core/validation."""

from __future__ import annotations

from slipway_sandbox.kubernetes import names, selector_rules
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def placement(spec: Object, path: str) -> list[Cause]:
    """Everything wrong with a pod spec's `affinity` and `topologySpreadConstraints`."""
    affinity = spec.get("affinity") or {}
    causes = _node_affinity(affinity.get("nodeAffinity") or {}, f"{path}.affinity.nodeAffinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        causes += _pod_affinity(affinity.get(kind) or {}, f"{path}.affinity.{kind}")
    constraints = spec.get("topologySpreadConstraints") or []
    pairs = [(constraint["topologyKey"], constraint["whenUnsatisfiable"]) for constraint in constraints]
    for index, constraint in enumerate(constraints):
        where = f"{path}.topologySpreadConstraints[{index}]"
        if constraint["maxSkew"] <= 0:
            causes.append(names.bad(f"{where}.maxSkew", constraint["maxSkew"], "must be greater than zero"))
        if (domains := constraint.get("minDomains")) is not None:
            if domains <= 0:
                causes.append(names.bad(f"{where}.minDomains", domains, "must be greater than zero"))
            if constraint["whenUnsatisfiable"] != "DoNotSchedule":
                why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
                causes.append(names.bad(f"{where}.minDomains", domains, why))
        if not constraint["topologyKey"]:
            causes.append(names.required(f"{where}.topologyKey", "can not be empty"))
        if (choice := constraint["whenUnsatisfiable"]) not in _UNSATISFIABLE:
            causes.append(names.unsupported(f"{where}.whenUnsatisfiable", choice, _UNSATISFIABLE))
        if pairs[index] in pairs[index + 1 :]:
            both = "{" + ", ".join(pairs[index]) + "}"
            causes.append(names.duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", both))
        if "labelSelector" in constraint:
            causes += selector_rules.label_selector(constraint["labelSelector"], f"{where}.labelSelector")
    return causes


def _node_affinity(affinity: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if (required := affinity.get(_REQUIRED)) is not None:
        terms = required.get("nodeSelectorTerms") or []
        if not terms:
            why = "must have at least one node selector term"
            causes.append(names.required(f"{path}.{_REQUIRED}.nodeSelectorTerms", why))
        for index, term in enumerate(terms):
            causes += _term(term, f"{path}.{_REQUIRED}.nodeSelectorTerms[{index}]")
    for index, preferred in enumerate(affinity.get(_PREFERRED) or []):
        where = f"{path}.{_PREFERRED}[{index}]"
        causes += _weight(preferred, where) + _term(preferred.get("preference") or {}, f"{where}.preference")
    return causes


def _weight(preferred: Object, path: str) -> list[Cause]:
    weight = preferred.get("weight", 0)
    return [] if 1 <= weight <= 100 else [names.bad(f"{path}.weight", weight, "must be in the range 1-100")]


def _term(term: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, expression in enumerate(term.get("matchExpressions") or []):
        where, operator = f"{path}.matchExpressions[{index}]", expression["operator"]
        values = expression.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                why = "must be specified when `operator` is 'In' or 'NotIn'"
                causes.append(names.required(f"{where}.values", why))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                causes.append(names.forbidden(f"{where}.values", why))
        elif operator in ("Gt", "Lt"):
            if len(values) != 1:
                why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                causes.append(names.required(f"{where}.values", why))
        else:
            causes.append(names.bad(f"{where}.operator", operator, "not a valid selector operator"))
        causes += names.qualified_name(f"{where}.key", expression["key"])
    return causes


def _pod_affinity(affinity: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    terms = [(f"{path}.{_REQUIRED}[{i}]", term) for i, term in enumerate(affinity.get(_REQUIRED) or [])]
    for index, preferred in enumerate(affinity.get(_PREFERRED) or []):
        where = f"{path}.{_PREFERRED}[{index}]"
        causes += _weight(preferred, where)
        terms.append((f"{where}.podAffinityTerm", preferred["podAffinityTerm"]))
    for where, term in terms:
        if "labelSelector" in term:
            causes += selector_rules.label_selector(term["labelSelector"], f"{where}.labelSelector")
        for namespace in term.get("namespaces") or []:
            causes += names.label(f"{where}.namespace", namespace)
        key = term.get("topologyKey", "")
        if not key:
            causes.append(names.required(f"{where}.topologyKey", "can not be empty"))
        causes += names.qualified_name(f"{where}.topologyKey", key)
    return causes
