"""What validation refuses of Services, ConfigMaps, Secrets, claims, storage classes, budgets, autoscalers and priorities.

Source: k8s.io/kubernetes/pkg/apis/*/validation (1.32), the rules a deployer runs into.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from slipway_sandbox.kubernetes import names, quantities
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

_DATA_LIMIT = 1 << 20  # bytes in a ConfigMap or Secret


NODE_PORTS = range(30000, 32768)


def one_of(path: str, value: str, allowed: tuple[str, ...]) -> list[Cause]:
    return [] if value in allowed else [names.unsupported(path, value, allowed)]


def immutable(new: Any, old: Any, path: str) -> list[Cause]:
    return [] if new == old else [names.bad(path, new, "field is immutable")]


def without(spec: Object, fields: set[str]) -> Object:
    return {key: value for key, value in spec.items() if key not in fields}


def service(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    kinds = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
    causes: list[Cause] = []
    if spec["type"] not in kinds:
        causes.append(names.unsupported("spec.type", spec["type"], kinds))
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
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
        if (node_port := port.get("nodePort")) and node_port not in NODE_PORTS:
            why = f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
            causes.append(names.bad(f"{where}.nodePort", node_port, why))
    causes += one_of("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
    if policy := spec.get("externalTrafficPolicy"):
        causes += one_of("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        causes.append(names.required("spec.externalName"))
    before = (old or {}).get("spec", {})
    kept = bool(before.get("clusterIP")) and spec["type"] != "ExternalName" != before.get("type")
    if kept and spec.get("clusterIP") != before["clusterIP"]:
        causes.append(names.bad("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set"))
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
    causes += [
        names.bad(f"data[{key}]", key, "duplicate of key present in binaryData")
        for key in new.get("data") or {}
        if key in (new.get("binaryData") or {})
    ]
    if new["kind"] == "Secret":
        causes += _typed_secret(new)
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
        causes += immutable(new.get("type"), old.get("type"), "type")
    return causes


_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def _typed_secret(secret: Object) -> list[Cause]:
    """What a Secret's type says must be in it."""
    kind, data = secret.get("type", ""), secret.get("data") or {}
    causes = [names.required(f"data[{key}]") for key in _SECRET_KEYS.get(kind, ()) if key not in data]
    causes += [
        names.bad(f"data[{key}]", "<secret contents redacted>", "invalid character in JSON")
        for key in _SECRET_KEYS.get(kind, ())
        if key in data and "docker" in kind and not _is_json(base64.b64decode(data[key]))
    ]
    if kind == "kubernetes.io/basic-auth" and not ({"username", "password"} & set(data)):
        causes += [names.required("data[username]"), names.required("data[password]")]
    if kind == "kubernetes.io/service-account-token":
        account = (secret["metadata"].get("annotations") or {}).get(_ACCOUNT_NAME)
        causes += [] if account else [names.required(f"metadata.annotations[{_ACCOUNT_NAME}]")]
    return causes


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def claim_spec(spec: Object, path: str) -> list[Cause]:
    """What is wrong with a claim's spec, be it a claim's or a template's."""
    causes: list[Cause] = []
    if not spec.get("accessModes"):
        causes.append(names.required(f"{path}.accessModes", "at least 1 access mode is required"))
    causes += [
        names.unsupported(f"{path}.accessModes", mode, _ACCESS_MODES)
        for mode in spec.get("accessModes") or []
        if mode not in _ACCESS_MODES
    ]
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if wanted is None:
        causes.append(names.required(f"{path}.resources[storage]"))
    elif quantities.parse(wanted) <= 0:
        causes.append(names.bad(f"{path}.resources[storage]", wanted, "must be greater than zero"))
    return causes


# kube-apiserver adds the difference between its two internal structs.
_CLAIM_IS_FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def claim(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes = claim_spec(spec, "spec")
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if old is None or wanted is None:
        return causes
    before = old["spec"]
    fixed = {"resources"} | ({"volumeName"} if not before.get("volumeName") else set())
    fixed |= {"storageClassName"} if "storageClassName" not in before else set()
    if without(spec, fixed) != without(before, fixed):
        causes.append(names.forbidden("spec", _CLAIM_IS_FIXED))
    had = before["resources"]["requests"]["storage"]
    bound = (old.get("status") or {}).get("phase") == "Bound"
    if bound and quantities.parse(wanted) < quantities.parse(had):
        causes.append(
            names.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
        )
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
    why = "a valid percent string must be a numeric string followed by an ending '%'"
    return [
        names.bad(f"spec.{field}", spec[field], why)
        for field in ("minAvailable", "maxUnavailable")
        if isinstance(spec.get(field), str) and not (spec[field].endswith("%") and spec[field][:-1].isdigit())
    ]


def node(new: Object, _old: Object | None) -> list[Cause]:
    effects = ("NoExecute", "NoSchedule", "PreferNoSchedule")
    causes: list[Cause] = []
    for index, taint in enumerate((new.get("spec") or {}).get("taints") or []):
        causes += names.qualified_name(f"metadata.taints[{index}].key", taint["key"])
        causes += one_of(f"metadata.taints[{index}].effect", taint["effect"], effects)
    return causes


def event(new: Object, old: Object | None) -> list[Cause]:
    about, home = (new.get("involvedObject") or {}).get("namespace", ""), new["metadata"]["namespace"]
    if old is not None or about == home or (not about and home in ("default", "kube-system")):
        return []
    return [names.bad("involvedObject.namespace", about, "does not match event.namespace")]


def binding(new: Object, old: Object | None) -> list[Cause]:
    return [] if old is None else immutable(new.get("roleRef"), old.get("roleRef"), "roleRef")


def role(new: Object, _old: Object | None) -> list[Cause]:
    """What is in a rule is not read here; that it is whole is asked for, as a real server does."""
    causes: list[Cause] = []
    cluster = new["kind"] == "ClusterRole"
    for index, rule in enumerate(new.get("rules") or []):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            causes.append(names.required(f"{path}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            if rule.get("resources") or rule.get("apiGroups"):
                causes.append(names.bad(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            elif not cluster:
                why = "namespaced rules cannot apply to non-resource URLs"
                causes.append(names.bad(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            continue
        if not rule.get("apiGroups"):
            why = "resource rules must supply at least one api group"
            causes.append(names.required(f"{path}.apiGroups", why))
        if not rule.get("resources"):
            why = "resource rules must supply at least one resource"
            causes.append(names.required(f"{path}.resources", why))
    return causes


def network_policy(new: Object, _old: Object | None) -> list[Cause]:
    kinds = (new.get("spec") or {}).get("policyTypes") or []
    return [
        names.unsupported(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
        for index, kind in enumerate(kinds)
        if kind not in ("Egress", "Ingress")
    ]


def lease(new: Object, _old: Object | None) -> list[Cause]:
    spec = new.get("spec") or {}
    causes: list[Cause] = []
    if "leaseDurationSeconds" in spec and spec["leaseDurationSeconds"] <= 0:
        causes.append(
            names.bad("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
        )
    if "leaseTransitions" in spec and spec["leaseTransitions"] < 0:
        why = "must be greater than or equal to 0"
        causes.append(names.bad("spec.leaseTransitions", spec["leaseTransitions"], why))
    return causes


def priority_class(new: Object, old: Object | None) -> list[Cause]:
    if old is not None and new["value"] != old["value"]:
        return [names.forbidden("value", "may not be changed in an update.")]
    reserved = {"system-cluster-critical", "system-node-critical"}
    if new["value"] > 1_000_000_000 and new["metadata"]["name"] not in reserved:
        return [names.forbidden("value", "maximum allowed value of a user defined priority is 1000000000")]
    return []
