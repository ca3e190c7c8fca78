"""Which nodes a pod may be on by labels and taints: shared by the scheduler, DaemonSets and taint eviction."""

from __future__ import annotations

from collections.abc import Iterable

from slipway_sandbox.controllers.objects import Object, labels_of, matches_expression, name_of


def taints_of(node: Object) -> list[Object]:
    return (node.get("spec") or {}).get("taints") or []


def tolerates(tolerations: Iterable[Object], taint: Object) -> Object | None:
    """The first toleration that covers the taint (v1.Toleration.ToleratesTaint)."""
    return next((toleration for toleration in tolerations if _covers(toleration, taint)), None)


def _covers(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    # An empty key is only valid with Exists (API validation), so Equal needs the very key.
    same_key = bool(toleration.get("key") == taint["key"])
    return same_key and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated_taint(spec: Object, node: Object, effects: tuple[str, ...]) -> Object | None:
    """The first taint of one of these effects that the pod does not tolerate."""
    tolerations = spec.get("tolerations") or []
    for taint in taints_of(node):
        if taint["effect"] in effects and tolerates(tolerations, taint) is None:
            return taint
    return None


def matches_node_terms(terms: Iterable[Object], node: Object) -> bool:
    """NodeSelectorTerms are ORed, the requirements within one ANDed; an empty term matches nothing."""
    return any(_matches_term(term, node) for term in terms)


def _matches_term(term: Object, node: Object) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    labels = labels_of(node)
    return all(matches_expression(requirement, labels) for requirement in expressions) and all(
        matches_expression(requirement, {"metadata.name": name_of(node)}) for requirement in fields
    )


def matches_node_selection(spec: Object, node: Object) -> bool:
    """nodeSelector and required node affinity."""
    labels = labels_of(node)
    if any(labels.get(name) != value for name, value in (spec.get("nodeSelector") or {}).items()):
        return False
    required = node_affinity(spec).get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or matches_node_terms(required.get("nodeSelectorTerms") or [], node)


def node_affinity(spec: Object) -> Object:
    return (spec.get("affinity") or {}).get("nodeAffinity") or {}
