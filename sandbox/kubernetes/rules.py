"""What kube-apiserver's validation refuses beyond types, kind by kind.

Source: k8s.io/kubernetes/pkg/apis/*/validation (1.32), the rules a deployer runs into.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from sandbox.kubernetes import cel_rules, core_rules, custom_validation, names, pod_rules, selectors
from sandbox.kubernetes.core_rules import immutable, without
from sandbox.kubernetes.errors import Cause
from sandbox.kubernetes.resources import Key, Resource
from sandbox.kubernetes.store import Object

_STATEFUL_SET_CHANGEABLE = "replicas ordinals template updateStrategy persistentVolumeClaimRetentionPolicy minReadySeconds revisionHistoryLimit"
Rule = Callable[[Object, Object | None], list[Cause]]


def metadata(resource: Resource, new: Object, old: Object | None) -> list[Cause]:
    """Name, labels, annotations, finalizers: of every kind."""
    meta = new["metadata"]
    causes: list[Cause] = []
    if old is None:
        causes += _name(resource, meta["name"])
    causes += names.labels("metadata.labels", meta.get("labels") or {})
    causes += names.annotation_sizes("metadata.annotations", meta.get("annotations") or {})
    if old is not None and old["metadata"].get("deletionTimestamp"):
        added = set(meta.get("finalizers") or []) - set(old["metadata"].get("finalizers") or [])
        if added:
            why = f"no new finalizers can be added if the object is being deleted, found new finalizers {sorted(added)}"
            causes.append(names.forbidden("metadata.finalizers", why))
    if (
        resource.custom is None and resource.group != "apiextensions.k8s.io"
    ):  # its validation asks for a name only
        causes += _finalizers(meta.get("finalizers") or [])
    owners = meta.get("ownerReferences") or []
    if sum(owner.get("controller") is True for owner in owners) > 1:
        why = "Only one reference can have Controller set to true"
        causes.append(names.bad("metadata.ownerReferences", owners, why))
    for index, owner in enumerate(owners):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append(names.required(f"metadata.ownerReferences[{index}].{field}"))
    return causes


def _finalizers(finalizers: list[str]) -> list[Cause]:
    why = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        names.bad(f"metadata.finalizers[{index}]", name, why)
        for index, name in enumerate(finalizers)
        if "/" not in name and name not in ("kubernetes", "orphan", "foregroundDeletion")
    ]


def _name(resource: Resource, name: str) -> list[Cause]:
    if resource.group == "rbac.authorization.k8s.io":  # path segments: system:… is fine
        wrong = name in (".", "..") or "/" in name or "%" in name
        return [names.bad("metadata.name", name, "may not contain '/' or '%'")] if wrong else []
    if resource.key == ("", "namespaces"):
        return names.label("metadata.name", name)
    if resource.key == ("", "services"):
        return names.service_label("metadata.name", name)
    return names.subdomain("metadata.name", name)


def object_rules(resource: Resource, new: Object, old: Object | None) -> list[Cause]:
    """A built-in kind's own rules; `old` is None for a creation."""
    rule = _RULES.get(resource.key)
    return rule(new, old) if rule is not None else []


# ---------------------------------------------------------------------------------------------- workloads


def _selector(object_: Object, kind: str) -> list[Cause]:
    spec = object_["spec"]
    selector = spec.get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [
            names.required("spec.selector"),
            names.bad("spec.selector", {}, f"empty selector is invalid for {kind}"),
        ]
    if wrong := label_selector(selector, "spec.selector"):
        return wrong
    template_labels = spec["template"]["metadata"].get("labels") or {}
    if not selectors.matches(selector, template_labels):
        shown = json.dumps(template_labels, sort_keys=True)
        return [
            Cause(
                "spec.template.metadata.labels",
                f"Invalid value: {shown}: `selector` does not match template `labels`",
            )
        ]
    return []


def label_selector(selector: Object, path: str) -> list[Cause]:
    """What is wrong with a LabelSelector. Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation."""
    causes = names.labels(f"{path}.matchLabels", selector.get("matchLabels") or {})
    for index, expression in enumerate(selector.get("matchExpressions") or []):
        where, operator = f"{path}.matchExpressions[{index}]", expression["operator"]
        if operator in ("In", "NotIn"):
            if not expression.get("values"):
                why = "must be specified when `operator` is 'In' or 'NotIn'"
                causes.append(names.required(f"{where}.values", why))
        elif operator in ("Exists", "DoesNotExist"):
            if expression.get("values"):
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                causes.append(names.forbidden(f"{where}.values", why))
        else:
            causes.append(names.bad(f"{where}.operator", operator, "not a valid selector operator"))
        causes += names.qualified_name(f"{where}.key", expression["key"])
    return causes


def _template(object_: Object, restart: tuple[str, ...] = ("Always",)) -> list[Cause]:
    template = object_["spec"]["template"]
    labels = template["metadata"].get("labels") or {}
    causes = names.labels("spec.template.metadata.labels", labels)
    return causes + pod_rules.pod_spec(template["spec"], "spec.template.spec", restart)


def _not_negative(object_: Object, *fields: str) -> list[Cause]:
    spec = object_["spec"]
    return [
        names.bad(f"spec.{field}", spec[field], "must be greater than or equal to 0")
        for field in fields
        if isinstance(spec.get(field), int) and spec[field] < 0
    ]


def _deployment(new: Object, old: Object | None) -> list[Cause]:
    causes = _selector(new, "deployment") + _template(new)
    causes += _not_negative(new, "replicas", "minReadySeconds", "revisionHistoryLimit")
    strategy = new["spec"]["strategy"]
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        causes.append(
            names.unsupported("spec.strategy.type", strategy["type"], ("Recreate", "RollingUpdate"))
        )
    if strategy["type"] == "Recreate" and "rollingUpdate" in strategy:
        why = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(names.forbidden("spec.strategy.rollingUpdate", why))
    if strategy["type"] == "RollingUpdate":
        causes += _rolling(strategy["rollingUpdate"])
    if new["spec"]["progressDeadlineSeconds"] <= new["spec"].get("minReadySeconds", 0):
        causes.append(
            names.bad(
                "spec.progressDeadlineSeconds",
                new["spec"]["progressDeadlineSeconds"],
                "must be greater than minReadySeconds",
            )
        )
    if old is not None:
        causes += immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def _rolling(rolling: Object) -> list[Cause]:
    causes: list[Cause] = []
    for field in ("maxSurge", "maxUnavailable"):
        value = rolling[field]
        if isinstance(value, str) and not (value.endswith("%") and value[:-1].isdigit()):
            why = "a valid percent string must be a numeric string followed by an ending '%'"
            causes.append(names.bad(f"spec.strategy.rollingUpdate.{field}", value, why))
        elif field == "maxUnavailable" and isinstance(value, str) and int(value[:-1]) > 100:
            why = "must not be greater than 100%"
            causes.append(names.bad(f"spec.strategy.rollingUpdate.{field}", value, why))
        elif isinstance(value, int) and value < 0:
            why = "must be greater than or equal to 0"
            causes.append(names.bad(f"spec.strategy.rollingUpdate.{field}", value, why))
    if all(rolling[field] in (0, "0%") for field in ("maxSurge", "maxUnavailable")):
        why = "may not be 0 when `maxSurge` is 0"
        causes.append(names.bad("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], why))
    return causes


def _replica_set(new: Object, old: Object | None) -> list[Cause]:
    causes = _selector(new, "replicaset") + _template(new) + _not_negative(new, "replicas", "minReadySeconds")
    if old is not None:
        causes += immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def _stateful_set(new: Object, old: Object | None) -> list[Cause]:
    causes = (
        _selector(new, "statefulset") + _template(new) + _not_negative(new, "replicas", "minReadySeconds")
    )
    changeable = set(_STATEFUL_SET_CHANGEABLE.split())
    if old is not None and without(new["spec"], changeable) != without(old["spec"], changeable):
        why = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        causes.append(names.forbidden("spec", why))
    return causes


def _daemon_set(new: Object, old: Object | None) -> list[Cause]:
    causes = _selector(new, "daemonset") + _template(new) + _not_negative(new, "minReadySeconds")
    if old is not None:
        causes += immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def _job(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes = _template(new, ("OnFailure", "Never"))
    causes += _not_negative(
        new, "parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"
    )
    if old is None:
        own = {"batch.kubernetes.io/controller-uid": new["metadata"]["uid"]}
        if not spec.get("manualSelector") and spec["selector"].get("matchLabels") != own:
            causes.append(names.bad("spec.selector", spec["selector"], "`selector` not auto-generated"))
        if spec["completionMode"] == "Indexed" and "completions" not in spec:
            causes.append(names.required("spec.completions", "when completion mode is Indexed"))
        return causes
    for field in ("completions", "selector", "template", "completionMode", "podFailurePolicy"):
        before, after = old["spec"].get(field), spec.get(field)
        if field == "template" and old["spec"].get("suspend"):
            before, after = before["spec"]["containers"], after["spec"]["containers"]
        if before != after:
            causes.append(names.bad(f"spec.{field}", "", "field is immutable"))
    return causes


def _pod(new: Object, old: Object | None) -> list[Cause]:
    if old is not None:
        return pod_rules.pod_update(new["spec"], old["spec"])
    return pod_rules.pod_spec(new["spec"], "spec")


def _definition(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes: list[Cause] = []
    wanted = f"{spec['names']['plural']}.{spec['group']}"
    if new["metadata"]["name"] != wanted:
        causes.append(
            names.bad("metadata.name", new["metadata"]["name"], 'must be spec.names.plural+"."+spec.group')
        )
    if sum(bool(version.get("storage")) for version in spec["versions"]) != 1:
        causes.append(
            names.bad("spec.versions", "", "must have exactly one version marked as storage version")
        )
    if spec["scope"] not in ("Cluster", "Namespaced"):
        causes.append(names.unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
    for index, version in enumerate(spec["versions"]):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        if not (schema := (version.get("schema") or {}).get("openAPIV3Schema")):
            causes.append(names.required(path, "schemas are required"))
        else:
            causes += custom_validation.structural(schema, path)
            causes += cel_rules.compile_errors(schema, path)
    if old is not None:
        for field in ("group", "scope"):
            causes += immutable(spec[field], old["spec"][field], f"spec.{field}")
        for field in ("plural", "kind"):
            before = old["spec"]["names"][field]
            causes += immutable(spec["names"][field], before, f"spec.names.{field}")
    return causes


_RULES: dict[Key, Rule] = {
    ("", "pods"): _pod,
    ("", "nodes"): core_rules.node,
    ("", "events"): core_rules.event,
    ("", "services"): core_rules.service,
    ("", "configmaps"): core_rules.configuration,
    ("", "secrets"): core_rules.configuration,
    ("", "persistentvolumeclaims"): core_rules.claim,
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _replica_set,
    ("apps", "statefulsets"): _stateful_set,
    ("apps", "daemonsets"): _daemon_set,
    ("batch", "jobs"): _job,
    ("storage.k8s.io", "storageclasses"): core_rules.storage_class,
    ("policy", "poddisruptionbudgets"): core_rules.budget,
    ("coordination.k8s.io", "leases"): core_rules.lease,
    ("networking.k8s.io", "networkpolicies"): core_rules.network_policy,
    ("rbac.authorization.k8s.io", "roles"): core_rules.role,
    ("rbac.authorization.k8s.io", "clusterroles"): core_rules.role,
    ("rbac.authorization.k8s.io", "rolebindings"): core_rules.binding,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): core_rules.binding,
    ("scheduling.k8s.io", "priorityclasses"): core_rules.priority_class,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
}
