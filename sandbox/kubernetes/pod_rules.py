"""Validation of pods and pod templates. Source: k8s.io/kubernetes/pkg/apis/core/validation."""

from __future__ import annotations

from typing import Any

from sandbox.kubernetes import names, quantities
from sandbox.kubernetes.errors import Cause
from sandbox.kubernetes.pod_placement_rules import placement
from sandbox.kubernetes.store import Object

_STANDARD = ("cpu", "memory", "ephemeral-storage")
_PULL = ("Always", "IfNotPresent", "Never")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_FIELD_PATHS = frozenset(
    [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.labels",
        "metadata.annotations",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ]
)
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_OPERATORS = ("Equal", "Exists")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod_spec(
    spec: Object, path: str, restart: tuple[str, ...] = ("Always", "OnFailure", "Never")
) -> list[Cause]:
    """Everything wrong with a pod spec whose defaults are filled in; `restart` are the policies its kind allows."""
    causes: list[Cause] = []
    containers, inits = spec.get("containers") or [], spec.get("initContainers") or []
    if not containers:
        causes.append(names.required(f"{path}.containers"))
    if spec["restartPolicy"] not in restart:
        causes.append(names.unsupported(f"{path}.restartPolicy", spec["restartPolicy"], restart))
    volumes, volume_causes = _volumes(spec.get("volumes") or [], f"{path}.volumes")
    causes += volume_causes
    seen: set[str] = set()
    for field, group in (("initContainers", inits), ("containers", containers)):
        for index, container in enumerate(group):
            where = f"{path}.{field}[{index}]"
            if container["name"] in seen:
                causes.append(names.duplicate(f"{where}.name", container["name"]))
            seen.add(container["name"])
            causes += _container(container, where, volumes)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        causes.append(
            names.bad(
                f"{path}.terminationGracePeriodSeconds",
                spec["terminationGracePeriodSeconds"],
                "must be greater than or equal to 0",
            )
        )
    causes += names.labels(f"{path}.nodeSelector", spec.get("nodeSelector") or {})
    causes += _of_the_pod(spec, path) + placement(spec, path)
    for index, toleration in enumerate(spec.get("tolerations") or []):
        causes += _toleration(toleration, f"{path}.tolerations[{index}]")
    return causes


def _of_the_pod(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if spec["dnsPolicy"] not in _DNS:
        causes.append(names.unsupported(f"{path}.dnsPolicy", spec["dnsPolicy"], _DNS))
    if (deadline := spec.get("activeDeadlineSeconds", 1)) < 1:
        why = "must be between 1 and 2147483647, inclusive"
        causes.append(names.bad(f"{path}.activeDeadlineSeconds", deadline, why))
    if hostname := spec.get("hostname"):
        causes += names.label(f"{path}.hostname", hostname)
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        if (number := (spec.get("securityContext") or {}).get(key, 0)) < 0:
            why = "must be between 0 and 2147483647, inclusive"
            causes.append(names.bad(f"{path}.securityContext.{key}", number, why))
    if spec.get("hostNetwork"):
        for index, container in enumerate(spec.get("containers") or []):
            for at, port in enumerate(container.get("ports") or []):
                if port.get("hostPort") not in (None, port["containerPort"]):
                    where = f"{path}.containers[{index}].ports[{at}].containerPort"
                    why = "must match `hostPort` when `hostNetwork` is true"
                    causes.append(names.bad(where, port["containerPort"], why))
    return causes


def _volumes(volumes: list[Object], path: str) -> tuple[set[str], list[Cause]]:
    found: set[str] = set()
    causes: list[Cause] = []
    for index, volume in enumerate(volumes):
        where, name = f"{path}[{index}]", volume["name"]
        causes += names.label(f"{where}.name", name)
        if name in found:
            causes.append(names.duplicate(f"{where}.name", name))
        found.add(name)
        if len(volume) > 2:
            kinds = [key for key in volume if key != "name"]
            causes.append(names.forbidden(f"{where}.{kinds[1]}", "may not specify more than 1 volume type"))
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None and quantities.parse(limit) < 0:
            why = "must be greater than or equal to 0"
            causes.append(names.forbidden(f"{where}.emptyDir.sizeLimit", f"SizeLimit field {why}"))
    return found, causes


def _container(container: Object, path: str, volumes: set[str]) -> list[Cause]:
    causes = names.label(f"{path}.name", container["name"])
    if not container.get("image"):
        causes.append(names.required(f"{path}.image"))
    elif container["image"] != container["image"].strip():
        causes.append(
            names.bad(f"{path}.image", container["image"], "must not have leading or trailing whitespace")
        )
    if container["imagePullPolicy"] not in _PULL:
        causes.append(names.unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], _PULL))
    causes += _ports(container.get("ports") or [], f"{path}.ports")
    for index, variable in enumerate(container.get("env") or []):
        causes += _variable(variable, f"{path}.env[{index}]")
    mounted: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        where = f"{path}.volumeMounts[{index}]"
        if mount["name"] not in volumes:
            causes.append(Cause(f"{where}.name", f'Not found: "{mount["name"]}"', "FieldValueNotFound"))
        if not mount["mountPath"]:
            causes.append(names.required(f"{where}.mountPath"))
        below = mount.get("subPath", "")
        if below.startswith("/"):
            causes.append(names.bad(f"{where}.subPath", below, "must be a relative path"))
        elif ".." in below.split("/"):
            causes.append(names.bad(f"{where}.subPath", below, "must not contain '..'"))
        if mount["mountPath"] in mounted:
            causes.append(names.bad(f"{where}.mountPath", mount["mountPath"], "must be unique"))
        mounted.add(mount["mountPath"])
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            causes += _probe(
                container[probe], f"{path}.{probe}", may_need_successes=probe == "readinessProbe"
            )
    return causes + resources(container.get("resources") or {}, f"{path}.resources")


def _ports(ports: list[Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        causes += names.port(f"{where}.containerPort", port["containerPort"])
        if name := port.get("name"):
            if len(name) > 15:
                causes.append(names.bad(f"{where}.name", name, "must be no more than 15 characters"))
            causes += names.label(f"{where}.name", name)
            if name in seen:
                causes.append(names.duplicate(f"{where}.name", name))
            seen.add(name)
        if port["protocol"] not in ("TCP", "UDP", "SCTP"):
            causes.append(names.unsupported(f"{where}.protocol", port["protocol"], ("TCP", "UDP", "SCTP")))
    return causes


def _variable(variable: Object, path: str) -> list[Cause]:
    causes = names.environment_name(f"{path}.name", variable["name"])
    source = variable.get("valueFrom")
    if source is not None:
        if variable.get("value"):
            causes.append(
                names.bad(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
            )
        if len(source) != 1:
            causes.append(
                names.bad(
                    f"{path}.valueFrom",
                    "",
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
                )
            )
        field = (source.get("fieldRef") or {}).get("fieldPath")
        if field is not None and field.partition("[")[0] not in _FIELD_PATHS:
            why = f"error converting fieldPath: field label not supported: {field}"
            causes.append(names.bad(f"{path}.valueFrom.fieldRef.fieldPath", field, why))
    return causes


def _probe(probe: Object, path: str, *, may_need_successes: bool) -> list[Cause]:
    handlers = [handler for handler in _HANDLERS if handler in probe]
    causes: list[Cause] = []
    if not handlers:
        causes.append(names.required(path, "must specify a handler type"))
    causes += [
        names.forbidden(f"{path}.{h}", "may not specify more than 1 handler type") for h in handlers[1:]
    ]
    for key in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        if probe.get(key, 0) < 0:
            causes.append(names.bad(f"{path}.{key}", probe[key], "must be greater than or equal to 0"))
    if not may_need_successes and probe["successThreshold"] != 1:
        causes.append(names.bad(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    for handler in ("httpGet", "tcpSocket"):
        port = (probe.get(handler) or {}).get("port")
        if isinstance(port, int):
            causes += names.port(f"{path}.{handler}.port", port)
    return causes


def _toleration(toleration: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
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


def resources(requirements: Object, path: str) -> list[Cause]:
    """Requests within limits; an extended resource such as nvidia.com/gpu whole, and its request its limit."""
    limits, requests = requirements.get("limits") or {}, requirements.get("requests") or {}
    causes: list[Cause] = []
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            where = f"{path}.{field}[{name}]"
            causes += names.qualified_name(where, name)
            if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
                causes.append(names.bad(where, name, "must be a standard resource for containers"))
            value = quantities.parse(amount)
            if value < 0:
                causes.append(names.bad(where, amount, "must be greater than or equal to 0"))
            if _extended(name) and value != value.to_integral_value():
                causes.append(names.bad(where, amount, "must be an integer"))
    for name, amount in requests.items():
        limit = limits.get(name)
        where = f"{path}.requests"
        if limit is None:
            if _extended(name):
                why = f"Limit must be set for non overcommitable resources: {name}"
                causes.append(names.required(f"{path}.limits", why))
        elif _extended(name) and quantities.parse(limit) != quantities.parse(amount):
            causes.append(names.bad(where, amount, f"must be equal to {name} limit of {limit}"))
        elif quantities.parse(amount) > quantities.parse(limit):
            causes.append(names.bad(where, amount, f"must be less than or equal to {name} limit of {limit}"))
    return causes


def _extended(name: str) -> bool:
    return "/" in name and not name.startswith(("kubernetes.io/", "requests."))


_MUTABLE_OF_CONTAINERS = ("image",)


def pod_update(new: Object, old: Object) -> list[Cause]:
    """A running pod's spec may change its images, grace -1, deadline, more tolerations and fewer scheduling gates."""
    if _fixed_part(new) == _fixed_part(old):
        kept = old.get("tolerations") or []
        if all(toleration in (new.get("tolerations") or []) for toleration in kept):
            return []
    why = (
        "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, "
        "`spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), "
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    return [names.forbidden("spec", why)]


def _fixed_part(spec: Object) -> dict[str, Any]:
    fixed = {
        k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    }
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [
                {k: v for k, v in container.items() if k not in _MUTABLE_OF_CONTAINERS}
                for container in fixed[field]
            ]
    return fixed
