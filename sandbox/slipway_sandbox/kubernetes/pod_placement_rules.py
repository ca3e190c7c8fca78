"""Validation of where a pod wants to be: affinity, spreading. Source: k8s.io/kubernetes/pkg/apis/core/validation."""

from __future__ import annotations

from slipway_sandbox.kubernetes import names, selector_rules
from slipway_sandbox.kubernetes.core_rules import one_of
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

_NODE_OPERATORS = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False, "Gt": True, "Lt": True}
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def placement(spec: Object, path: str) -> list[Cause]:
    """Everything wrong with a pod spec's `affinity` and `topologySpreadConstraints`."""
    affinity = spec.get("affinity") or {}
    causes = _node_affinity(affinity.get("nodeAffinity") or {}, f"{path}.affinity.nodeAffinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        causes += _pod_affinity(affinity.get(kind) or {}, f"{path}.affinity.{kind}")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or []):
        where = f"{path}.topologySpreadConstraints[{index}]"
        causes += one_of(f"{where}.whenUnsatisfiable", constraint["whenUnsatisfiable"], _UNSATISFIABLE)
        if constraint["maxSkew"] <= 0:
            causes.append(names.bad(f"{where}.maxSkew", constraint["maxSkew"], "must be greater than zero"))
        if not constraint["topologyKey"]:
            causes.append(names.required(f"{where}.topologyKey", "can not be empty"))
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
        where = f"{path}.{_PREFERRED}[{index}].preference"
        causes += _term(preferred.get("preference") or {}, where)
    return causes


def _term(term: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, expression in enumerate(term.get("matchExpressions") or []):
        causes += selector_rules.requirement(expression, f"{path}.matchExpressions[{index}]", _NODE_OPERATORS)
    return causes


def _pod_affinity(affinity: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    terms = [(f"{path}.{_REQUIRED}[{i}]", term) for i, term in enumerate(affinity.get(_REQUIRED) or [])]
    for index, preferred in enumerate(affinity.get(_PREFERRED) or []):
        terms.append((f"{path}.{_PREFERRED}[{index}].podAffinityTerm", preferred["podAffinityTerm"]))
    for where, term in terms:
        if "labelSelector" in term:
            causes += selector_rules.label_selector(term["labelSelector"], f"{where}.labelSelector")
        key = term.get("topologyKey", "")
        if not key:
            causes.append(names.required(f"{where}.topologyKey", "can not be empty"))
        causes += names.qualified_name(f"{where}.topologyKey", key)
    return causes
