"""Validation of Services, ConfigMaps, Secrets, claims, storage classes, budgets and network policies.

Source: k8s.io/kubernetes/pkg/apis/*/validation (1.32), as far as the product's and the charts' objects can meet it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from slipway_sandbox.kubernetes import names, quantities
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

NODE_PORTS = range(30000, 32768)
_DATA_LIMIT = 1 << 20  # bytes in a ConfigMap or Secret
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
# kube-apiserver adds the difference between its two internal structs.
_CLAIM_IS_FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def one_of(path: str, value: str, allowed: tuple[str, ...]) -> list[Cause]:
    return [] if value in allowed else [names.unsupported(path, value, allowed)]


def immutable(new: Any, old: Any, path: str) -> list[Cause]:
    return [] if new == old else [names.bad(path, new, "field is immutable")]


def without(spec: Object, fields: set[str]) -> Object:
    return {key: value for key, value in spec.items() if key not in fields}


def service(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes = one_of("spec.type", spec["type"], ("ClusterIP", "NodePort", "LoadBalancer"))
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None":
        causes.append(names.required("spec.ports"))
    seen: set[str] = set()
    numbers: set[tuple[int, str]] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        causes += names.port(f"{where}.port", port["port"])
        causes += one_of(f"{where}.protocol", port["protocol"], ("TCP", "UDP", "SCTP"))
        if isinstance(port["targetPort"], int):
            causes += names.port(f"{where}.targetPort", port["targetPort"])
        name = port.get("name", "")
        if len(ports) > 1 and not name:
            causes.append(names.required(f"{where}.name"))
        elif name and name in seen:
            causes.append(names.duplicate(f"{where}.name", name))
        seen.add(name)
        number = (port["port"], port["protocol"])
        if number in numbers:
            shown = json.dumps({"port": number[0], "protocol": number[1]}, separators=(",", ":"))
            causes.append(Cause(where, f"Duplicate value: {shown}", "FieldValueDuplicate"))
        numbers.add(number)
    before = (old or {}).get("spec", {})
    if before.get("clusterIP") and spec.get("clusterIP") != before["clusterIP"]:
        causes.append(names.bad("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set"))
    if before.get("type") == spec["type"] == "LoadBalancer":
        # validateLoadBalancerClassField, kubernetes/pkg/apis/core/validation/validation.go
        was, asked = before.get("loadBalancerClass"), spec.get("loadBalancerClass")
        if was != asked:
            causes.append(names.bad("spec.loadBalancerClass", asked, "may not change once set"))
    return causes


def configuration(new: Object, old: Object | None) -> list[Cause]:
    """ConfigMaps and Secrets: keys, size, immutability."""
    causes: list[Cause] = []
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (new.get(field) or {}).items():
            causes += names.config_key(f"{field}[{key}]", key)
            encoded = new["kind"] == "Secret" or field == "binaryData"
            size += len(base64.b64decode(value)) if encoded else len(value.encode())
    if size > _DATA_LIMIT:
        why = f"Too long: may not be more than {_DATA_LIMIT} bytes"
        causes.append(Cause("data", why, "FieldValueTooLong"))
    if old is None:
        return causes
    if old.get("immutable"):
        causes += [
            names.forbidden(field, "field is immutable when `immutable` is set")
            for field in ("immutable", "data", "binaryData")
            if new.get(field) != old.get(field)
        ]
    if new["kind"] == "Secret":
        causes += immutable(new.get("type"), old.get("type"), "type")
    return causes


def claim_spec(spec: Object, path: str) -> list[Cause]:
    """What is wrong with a claim's spec, be it a claim's or a template's."""
    causes: list[Cause] = []
    if not spec.get("accessModes"):
        causes.append(names.required(f"{path}.accessModes", "at least 1 access mode is required"))
    for mode in spec.get("accessModes") or []:
        causes += one_of(f"{path}.accessModes", mode, _ACCESS_MODES)
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if wanted is None:
        causes.append(names.required(f"{path}.resources[storage]"))
    elif quantities.parse(wanted) <= 0:
        causes.append(names.bad(f"{path}.resources[storage]", wanted, "must be greater than zero"))
    return causes


def claim(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes = claim_spec(spec, "spec")
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if old is None or wanted is None:
        return causes
    before = old["spec"]
    fixed = {"resources"} | ({"volumeName"} if not before.get("volumeName") else set())
    if without(spec, fixed) != without(before, fixed):
        causes.append(names.forbidden("spec", _CLAIM_IS_FIXED))
    had = before["resources"]["requests"]["storage"]
    bound = (old.get("status") or {}).get("phase") == "Bound"
    if bound and quantities.parse(wanted) < quantities.parse(had):
        why = "field can not be less than status.capacity"
        causes.append(names.forbidden("spec.resources.requests.storage", why))
    elif wanted != had and not bound:
        causes.append(names.forbidden("spec", _CLAIM_IS_FIXED))
    return causes


def storage_class(new: Object, old: Object | None) -> list[Cause]:
    if old is None:
        modes = ("Immediate", "WaitForFirstConsumer")
        causes = one_of("volumeBindingMode", new["volumeBindingMode"], modes)
        causes += one_of("reclaimPolicy", new["reclaimPolicy"], ("Delete", "Retain"))
        return causes if new["provisioner"] else [*causes, names.required("provisioner")]
    fields = ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
    return [
        names.forbidden(field, f"updates to {field} are forbidden.")
        for field in fields
        if new.get(field) != old.get(field)
    ]


def budget(new: Object, _old: Object | None) -> list[Cause]:
    spec = new.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        return [names.bad("spec", "", "minAvailable and maxUnavailable cannot be both set")]
    return []


def network_policy(new: Object, _old: Object | None) -> list[Cause]:
    kinds = (new.get("spec") or {}).get("policyTypes") or []
    return [
        cause
        for index, kind in enumerate(kinds)
        for cause in one_of(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    ]
