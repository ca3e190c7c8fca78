"""What kube-apiserver's validation refuses beyond types, kind by kind.

Source: k8s.io/kubernetes/pkg/apis/*/validation (1.32), the rules a deployer runs into.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from sandbox.kubernetes import names, pod_rules, quantities, selectors
from sandbox.kubernetes.errors import Cause
from sandbox.kubernetes.resources import Key, Resource
from sandbox.kubernetes.store import Object

_DATA_LIMIT = 1 << 20  # bytes in a ConfigMap or Secret
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
    for index, owner in enumerate(meta.get("ownerReferences") or []):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append(names.required(f"metadata.ownerReferences[{index}].{field}"))
    return causes


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


def _immutable(new: Any, old: Any, path: str) -> list[Cause]:
    return [] if new == old else [names.bad(path, json.dumps(new), "field is immutable")]


# ---------------------------------------------------------------------------------------------- workloads


def _selector(object_: Object, kind: str) -> list[Cause]:
    spec = object_["spec"]
    selector = spec.get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [
            names.required("spec.selector"),
            names.bad("spec.selector", "{}", f"empty selector is invalid for {kind}"),
        ]
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
        causes += _immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def _rolling(rolling: Object) -> list[Cause]:
    causes: list[Cause] = []
    for field in ("maxSurge", "maxUnavailable"):
        value = rolling[field]
        if isinstance(value, str) and not (value.endswith("%") and value[:-1].isdigit()):
            why = "a valid percent string must be a numeric string followed by an ending '%'"
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
        causes += _immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def _stateful_set(new: Object, old: Object | None) -> list[Cause]:
    causes = (
        _selector(new, "statefulset") + _template(new) + _not_negative(new, "replicas", "minReadySeconds")
    )
    changeable = set(_STATEFUL_SET_CHANGEABLE.split())
    if old is not None and _without(new["spec"], changeable) != _without(old["spec"], changeable):
        why = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        causes.append(names.forbidden("spec", why))
    return causes


def _daemon_set(new: Object, old: Object | None) -> list[Cause]:
    causes = _selector(new, "daemonset") + _template(new) + _not_negative(new, "minReadySeconds")
    if old is not None:
        causes += _immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def _job(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes = _template(new, ("OnFailure", "Never"))
    causes += _not_negative(
        new, "parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"
    )
    if old is None:
        return causes
    for field in ("completions", "selector", "template", "completionMode", "podFailurePolicy"):
        before, after = old["spec"].get(field), spec.get(field)
        if field == "template" and old["spec"].get("suspend"):
            before, after = before["spec"]["containers"], after["spec"]["containers"]
        if before != after:
            causes.append(names.bad(f"spec.{field}", "", "field is immutable"))
    return causes


def _cron_job(new: Object, _old: Object | None) -> list[Cause]:
    spec = new["spec"]
    template = spec["jobTemplate"]["spec"]["template"]["spec"]
    causes = pod_rules.pod_spec(template, "spec.jobTemplate.spec.template.spec", ("OnFailure", "Never"))
    if len(spec["schedule"].split()) != 5 and not spec["schedule"].startswith("@"):
        causes.append(names.bad("spec.schedule", spec["schedule"], "expected exactly 5 fields"))
    return causes


def _pod(new: Object, old: Object | None) -> list[Cause]:
    if old is not None:
        return pod_rules.pod_update(new["spec"], old["spec"])
    return pod_rules.pod_spec(new["spec"], "spec")


def _without(spec: Object, fields: set[str]) -> Object:
    return {key: value for key, value in spec.items() if key not in fields}


# ---------------------------------------------------------------------------------------------- core


def _service(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    kinds = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
    causes: list[Cause] = []
    if spec["type"] not in kinds:
        causes.append(names.unsupported("spec.type", spec["type"], kinds))
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        causes.append(names.required("spec.ports"))
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        causes += names.port(f"{where}.port", port["port"])
        if isinstance(port["targetPort"], int):
            causes += names.port(f"{where}.targetPort", port["targetPort"])
        name = port.get("name", "")
        if len(ports) > 1 and not name:
            causes.append(names.required(f"{where}.name"))
        elif name and name in seen:
            causes.append(names.duplicate(f"{where}.name", name))
        seen.add(name)
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        causes.append(names.required("spec.externalName"))
    before = (old or {}).get("spec", {})
    if before.get("clusterIP") and spec["type"] != "ExternalName" != before.get("type"):
        causes += _immutable(spec.get("clusterIP"), before["clusterIP"], "spec.clusterIP")
    return causes


def _configuration(new: Object, old: Object | None) -> list[Cause]:
    """ConfigMaps and Secrets: keys, size, immutability."""
    causes: list[Cause] = []
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (new.get(field) or {}).items():
            if not names.CONFIG_KEY.fullmatch(key) or len(key) > 253:
                why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                causes.append(names.bad(f"{field}[{key}]", key, why))
            encoded = new["kind"] == "Secret" or field == "binaryData"
            size += len(base64.b64decode(value)) if encoded else len(value.encode())
    if size > _DATA_LIMIT:
        causes.append(
            Cause("data", f"Too long: may not be more than {_DATA_LIMIT} bytes", "FieldValueTooLong")
        )
    if old is None:
        return causes
    if old.get("immutable"):
        if not new.get("immutable"):
            causes.append(names.forbidden("immutable", "field is immutable when `immutable` is set"))
        causes += [
            names.forbidden(field, "field is immutable when `immutable` is set")
            for field in ("data", "binaryData")
            if new.get(field) != old.get(field)
        ]
    if new["kind"] == "Secret":
        causes += _immutable(new.get("type"), old.get("type"), "type")
    return causes


_ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")


def _claim(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes: list[Cause] = []
    if not spec.get("accessModes"):
        causes.append(names.required("spec.accessModes", "at least 1 access mode is required"))
    causes += [
        names.unsupported("spec.accessModes", mode, _ACCESS_MODES)
        for mode in spec.get("accessModes") or []
        if mode not in _ACCESS_MODES
    ]
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if wanted is None:
        causes.append(names.required("spec.resources[storage]"))
    elif quantities.parse(wanted) <= 0:
        causes.append(names.bad("spec.resources[storage]", wanted, "must be greater than zero"))
    if old is None or wanted is None:
        return causes
    before = old["spec"]
    fixed = {"resources"} | ({"volumeName"} if not before.get("volumeName") else set())
    fixed |= {"storageClassName"} if "storageClassName" not in before else set()
    if _without(spec, fixed) != _without(before, fixed):
        why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        causes.append(names.forbidden("spec", why))
    had = before["resources"]["requests"]["storage"]
    if quantities.parse(wanted) < quantities.parse(had):
        causes.append(
            names.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
        )
    elif wanted != had and (old.get("status") or {}).get("phase") != "Bound":
        causes.append(
            names.forbidden(
                "spec", "spec is immutable after creation except resources.requests for bound claims"
            )
        )
    return causes


def _storage_class(new: Object, old: Object | None) -> list[Cause]:
    if old is None:
        return []
    fields = ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
    return [
        names.forbidden(field, f"updates to {field} are forbidden.")
        for field in fields
        if new.get(field) != old.get(field)
    ]


def _autoscaler(new: Object, _old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes: list[Cause] = []
    if spec["maxReplicas"] < 1:
        causes.append(names.bad("spec.maxReplicas", spec["maxReplicas"], "must be greater than 0"))
    if spec["minReplicas"] < 1:
        causes.append(
            names.bad("spec.minReplicas", spec["minReplicas"], "must be greater than or equal to 1")
        )
    if spec["maxReplicas"] < spec["minReplicas"]:
        causes.append(
            names.bad(
                "spec.maxReplicas", spec["maxReplicas"], "must be greater than or equal to `minReplicas`"
            )
        )
    return causes


def _budget(new: Object, _old: Object | None) -> list[Cause]:
    spec = new.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        return [names.bad("spec", "", "minAvailable and maxUnavailable cannot be both set")]
    return []


def _binding(new: Object, old: Object | None) -> list[Cause]:
    return [] if old is None else _immutable(new.get("roleRef"), old.get("roleRef"), "roleRef")


def _priority_class(new: Object, old: Object | None) -> list[Cause]:
    if old is not None and new["value"] != old["value"]:
        return [names.forbidden("value", "may not be changed in an update.")]
    reserved = {"system-cluster-critical", "system-node-critical"}
    if new["value"] > 1_000_000_000 and new["metadata"]["name"] not in reserved:
        return [names.forbidden("value", "maximum allowed value of a user defined priority is 1000000000")]
    return []


def _definition(new: Object, _old: Object | None) -> list[Cause]:
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
    for index, version in enumerate(spec["versions"]):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            causes.append(
                names.required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")
            )
    return causes


_RULES: dict[Key, Rule] = {
    ("", "pods"): _pod,
    ("", "services"): _service,
    ("", "configmaps"): _configuration,
    ("", "secrets"): _configuration,
    ("", "persistentvolumeclaims"): _claim,
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _replica_set,
    ("apps", "statefulsets"): _stateful_set,
    ("apps", "daemonsets"): _daemon_set,
    ("batch", "jobs"): _job,
    ("batch", "cronjobs"): _cron_job,
    ("storage.k8s.io", "storageclasses"): _storage_class,
    ("autoscaling", "horizontalpodautoscalers"): _autoscaler,
    ("policy", "poddisruptionbudgets"): _budget,
    ("rbac.authorization.k8s.io", "rolebindings"): _binding,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): _binding,
    ("scheduling.k8s.io", "priorityclasses"): _priority_class,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
}
