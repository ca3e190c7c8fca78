"""Validation of pods and pod templates. Source: k8s.io/kubernetes/pkg/apis/core/validation."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes import container_rules, names, quantities
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.pod_placement_rules import placement
from slipway_sandbox.kubernetes.store import Object

_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_OPERATORS = ("Equal", "Exists")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod_spec(spec: Object, path: str) -> list[Cause]:
    """Everything wrong with a pod spec whose defaults are filled in."""
    causes: list[Cause] = []
    volumes, volume_causes = _volumes(spec.get("volumes") or [], f"{path}.volumes")
    causes += volume_causes
    causes += _containers(spec, path, volumes)
    allowed = ("Always", "OnFailure", "Never")
    if spec["restartPolicy"] not in allowed:
        causes.append(names.unsupported(f"{path}.restartPolicy", spec["restartPolicy"], allowed))
    causes += names.labels(f"{path}.nodeSelector", spec.get("nodeSelector") or {})
    causes += _of_the_pod(spec, path) + placement(spec, path)
    for index, toleration in enumerate(spec.get("tolerations") or []):
        causes += _toleration(toleration, f"{path}.tolerations[{index}]")
    return causes


def _containers(spec: Object, path: str, volumes: set[str]) -> list[Cause]:
    containers, inits = spec.get("containers") or [], spec.get("initContainers") or []
    causes = [] if containers else [names.required(f"{path}.containers")]
    seen: set[str] = set()
    for field, group in (("containers", containers), ("initContainers", inits)):
        for index, container in enumerate(group):
            where = f"{path}.{field}[{index}]"
            causes += container_rules.container(container, where, volumes)
            if container["name"] and container["name"] in seen:
                causes.append(names.duplicate(f"{where}.name", container["name"]))
            if container.get("restartPolicy"):
                causes.append(
                    names.forbidden(f"{where}.restartPolicy", "the sandbox has no sidecar containers")
                )
            seen.add(container["name"])
    return causes


def _of_the_pod(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if spec["dnsPolicy"] not in _DNS:
        causes.append(names.unsupported(f"{path}.dnsPolicy", spec["dnsPolicy"], _DNS))
    if (deadline := spec.get("activeDeadlineSeconds", 1)) < 1:
        why = "must be between 1 and 2147483647, inclusive"
        causes.append(names.bad(f"{path}.activeDeadlineSeconds", deadline, why))
    for field in ("nodeName", "serviceAccountName", "priorityClassName"):
        if value := spec.get(field):
            causes += names.subdomain(f"{path}.{field}", value)
    return causes


def _volumes(volumes: list[Object], path: str) -> tuple[set[str], list[Cause]]:
    found: set[str] = set()
    causes: list[Cause] = []
    for index, volume in enumerate(volumes):
        where, name = f"{path}[{index}]", volume["name"]
        causes += container_rules.name(name, f"{where}.name")
        if name in found:
            causes.append(names.duplicate(f"{where}.name", name))
        found.add(name)
        if len(volume) > 2:
            kinds = [key for key in volume if key != "name"]
            causes.append(names.forbidden(f"{where}.{kinds[1]}", "may not specify more than 1 volume type"))
        for kind in volume.keys() - {"name"}:
            causes += _source(kind, volume[kind], f"{where}.{kind}")
    return found, causes


def _source(kind: str, source: Object, path: str) -> list[Cause]:
    """What a volume's source must say."""
    causes: list[Cause] = []
    if kind == "configMap" and not source.get("name"):
        causes.append(names.required(f"{path}.name"))
    elif kind == "secret" and not source.get("secretName"):
        causes.append(names.required(f"{path}.secretName"))
    elif kind == "ephemeral" and "volumeClaimTemplate" not in source:
        causes.append(names.required(f"{path}.volumeClaimTemplate"))
    elif kind == "emptyDir" and quantities.parse(source.get("sizeLimit", "0")) < 0:
        causes.append(
            names.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")
        )
    if not 0 <= source.get("defaultMode", 0) <= 0o777:
        why = "must be a number between 0 and 0777 (octal), both inclusive"
        causes.append(names.bad(f"{path}.defaultMode", source["defaultMode"], why))
    return causes


def _toleration(toleration: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if key := toleration.get("key"):
        causes += names.qualified_name(f"{path}.key", key)
    operator = toleration.get("operator", "Equal")
    if operator not in _OPERATORS:
        causes.append(names.unsupported(f"{path}.operator", operator, _OPERATORS))
    if not toleration.get("key") and operator != "Exists":
        causes.append(
            names.bad(
                f"{path}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        )
    if operator == "Exists" and toleration.get("value"):
        causes.append(
            names.bad(
                f"{path}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'"
            )
        )
    if (effect := toleration.get("effect")) and effect not in _EFFECTS:
        causes.append(names.unsupported(f"{path}.effect", effect, _EFFECTS))
    if "tolerationSeconds" in toleration and effect != "NoExecute":
        causes.append(
            names.bad(
                f"{path}.effect", effect or "", "effect must be 'NoExecute' when `tolerationSeconds` is set"
            )
        )
    return causes


_MUTABLE_OF_CONTAINERS = ("image",)


def pod_update(new: Object, old: Object) -> list[Cause]:
    """A running pod's spec may change its images and its deadline, and gain tolerations."""
    if _fixed_part(new) == _fixed_part(old):
        kept = old.get("tolerations") or []
        if all(toleration in (new.get("tolerations") or []) for toleration in kept):
            return []
    why = (
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    return [names.forbidden("spec", why)]


def _fixed_part(spec: Object) -> dict[str, Any]:
    fixed = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations")}
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [
                {k: v for k, v in container.items() if k not in _MUTABLE_OF_CONTAINERS}
                for container in fixed[field]
            ]
    return fixed
