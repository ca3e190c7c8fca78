"""Validation of one container of a pod. Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go."""

from __future__ import annotations

import re
from typing import Any

from slipway_sandbox.kubernetes import names, quantities
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

_STANDARD = ("cpu", "memory", "ephemeral-storage")
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
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
# A probe has no field for the last, a hook none for grpc.
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_NUMBERS = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)


def container(spec: Object, path: str, volumes: set[str]) -> list[Cause]:
    """Everything wrong with a container whose defaults are filled in; `volumes` are the names of the pod's."""
    causes = name(spec["name"], f"{path}.name")
    image = spec.get("image", "")
    if not image:
        causes.append(names.required(f"{path}.image"))
    elif image != image.strip():
        causes.append(names.bad(f"{path}.image", image, "must not have leading or trailing whitespace"))
    for hook in ("postStart", "preStop"):
        if hook in (spec.get("lifecycle") or {}):
            causes += _handler(spec["lifecycle"][hook], f"{path}.lifecycle.{hook}")
    for probe in _PROBES:
        if probe in spec:
            causes += _probe(spec[probe], f"{path}.{probe}", may_need_successes=probe == "readinessProbe")
    causes += _ports(spec.get("ports") or [], f"{path}.ports")
    for index, variable in enumerate(spec.get("env") or []):
        causes += _variable(variable, f"{path}.env[{index}]")
    causes += _mounts(spec.get("volumeMounts") or [], f"{path}.volumeMounts", volumes)
    if spec["imagePullPolicy"] not in _PULL:
        causes.append(names.unsupported(f"{path}.imagePullPolicy", spec["imagePullPolicy"], _PULL))
    return causes + resources(spec.get("resources") or {}, f"{path}.resources")


def name(given: str, path: str) -> list[Cause]:
    return names.label(path, given) if given else [names.required(path)]


def _mounts(mounts: list[Object], path: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    mounted: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{path}[{index}]"
        if not mount["name"]:
            causes.append(names.required(f"{where}.name"))
        if mount["name"] not in volumes:
            causes.append(Cause(f"{where}.name", f'Not found: "{mount["name"]}"', "FieldValueNotFound"))
        if not mount["mountPath"]:
            causes.append(names.required(f"{where}.mountPath"))
        if mount["mountPath"] in mounted:
            causes.append(names.bad(f"{where}.mountPath", mount["mountPath"], "must be unique"))
        mounted.add(mount["mountPath"])
    return causes


def port_name(path: str, given: str) -> list[Cause]:
    """An IANA service name. Source: IsValidPortName of k8s.io/apimachinery/pkg/util/validation."""
    demands = (
        (len(given) <= 15, "must be no more than 15 characters"),
        (
            re.fullmatch(r"[-a-z0-9]+", given),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (re.search(r"[a-z]", given), "must contain at least one letter (a-z)"),
        ("--" not in given, "must not contain consecutive hyphens"),
        (given.strip("-") == given, "must not begin or end with a hyphen"),
    )
    return [names.bad(path, given, why) for met, why in demands if not met]


def _ports(ports: list[Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        if given := port.get("name"):
            if wrong := port_name(f"{where}.name", given):
                causes += wrong
            elif given in seen:
                causes.append(names.duplicate(f"{where}.name", given))
            seen.add(given)
        if not port["containerPort"]:
            causes.append(names.required(f"{where}.containerPort"))
        else:
            causes += names.port(f"{where}.containerPort", port["containerPort"])
        if port["protocol"] not in _PROTOCOLS:
            causes.append(names.unsupported(f"{where}.protocol", port["protocol"], _PROTOCOLS))
    return causes


def _variable(variable: Object, path: str) -> list[Cause]:
    given = variable["name"]
    causes = names.environment_name(f"{path}.name", given) if given else [names.required(f"{path}.name")]
    source = variable.get("valueFrom")
    if source is None:
        return causes
    where = f"{path}.valueFrom"
    if len(source) != 1:
        why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        return [*causes, names.bad(where, "", why)]
    if variable.get("value"):
        causes.append(names.bad(where, "", "may not be specified when `value` is not empty"))
    field = (source.get("fieldRef") or {}).get("fieldPath")
    if field is not None and field.partition("[")[0] not in _FIELD_PATHS:
        why = f"error converting fieldPath: field label not supported: {field}"
        causes.append(names.bad(f"{where}.fieldRef.fieldPath", field, why))
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if kind in source:
            causes += _key_reference(source[kind], f"{where}.{kind}")
    return causes


def _key_reference(reference: Object, path: str) -> list[Cause]:
    causes = names.subdomain(f"{path}.name", reference.get("name", ""))
    key = reference["key"]
    if not key:
        causes.append(names.required(f"{path}.key"))
    else:
        causes += names.config_key(f"{path}.key", key)
    return causes


def _probe(probe: Object, path: str, *, may_need_successes: bool) -> list[Cause]:
    causes = _handler(probe, path)
    for key in _PROBE_NUMBERS:
        if probe.get(key, 0) < 0:
            causes.append(names.bad(f"{path}.{key}", probe[key], "must be greater than or equal to 0"))
    if not may_need_successes and probe["successThreshold"] != 1:
        causes.append(names.bad(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes


def _handler(given: Object, path: str) -> list[Cause]:
    handlers = [handler for handler in _HANDLERS if handler in given]
    causes: list[Cause] = []
    for handler in handlers[:1]:
        causes += _action(handler, given[handler], f"{path}.{handler}")
    causes += [
        names.forbidden(f"{path}.{h}", "may not specify more than 1 handler type") for h in handlers[1:]
    ]
    return causes if handlers else [names.required(path, "must specify a handler type")]


def _action(handler: str, given: Object, path: str) -> list[Cause]:
    if handler == "exec":
        return [] if given.get("command") else [names.required(f"{path}.command")]
    if handler == "sleep":
        return []
    causes: list[Cause] = []
    if handler == "httpGet" and not given.get("path"):
        causes.append(names.required(f"{path}.path"))
    port: Any = given.get("port") or 0
    causes += names.port(f"{path}.port", port) if isinstance(port, int) else port_name(f"{path}.port", port)
    if handler == "httpGet" and given.get("scheme") not in ("HTTP", "HTTPS"):
        causes.append(names.unsupported(f"{path}.scheme", given.get("scheme"), ("HTTP", "HTTPS")))
    return causes


def resources(requirements: Object, path: str) -> list[Cause]:
    """Requests within limits; an extended resource such as nvidia.com/gpu whole, and its request its limit."""
    limits, requests = requirements.get("limits") or {}, requirements.get("requests") or {}
    causes: list[Cause] = []
    for field, amounts in (("limits", limits), ("requests", requests)):
        for resource, amount in amounts.items():
            causes += _amount(resource, amount, f"{path}.{field}[{resource}]")
    for resource, amount in requests.items():
        limit = limits.get(resource)
        where = f"{path}.requests"
        if limit is None:
            if _extended(resource):
                why = "Limit must be set for non overcommitable resources"
                causes.append(names.required(f"{path}.limits", why))
        elif _extended(resource) and quantities.parse(limit) != quantities.parse(amount):
            causes.append(names.bad(where, amount, f"must be equal to {resource} limit of {limit}"))
        elif quantities.parse(amount) > quantities.parse(limit):
            why = f"must be less than or equal to {resource} limit of {limit}"
            causes.append(names.bad(where, amount, why))
    return causes


def _amount(resource: str, amount: str, path: str) -> list[Cause]:
    causes = names.qualified_name(path, resource)
    if "/" not in resource and resource not in _STANDARD and not resource.startswith("hugepages-"):
        causes.append(names.bad(path, resource, "must be a standard resource type or fully qualified"))
        causes.append(names.bad(path, resource, "must be a standard resource for containers"))
    value = quantities.parse(amount)
    if value < 0:
        causes.append(names.bad(path, amount, "must be greater than or equal to 0"))
    if _extended(resource) and value != value.to_integral_value():
        causes.append(names.bad(path, amount, "must be an integer"))
    return causes


def _extended(resource: str) -> bool:
    return "/" in resource and not resource.startswith(("kubernetes.io/", "requests."))
