"""What is refused of a CustomResourceDefinition: its names, versions, columns, scale and schemas.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation. What all versions have in common is named as the
internal type names it (`spec.validation`, `spec.subresources`, …), for that is what the real server validates.
"""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes import cel_rules, names, structural_rules
from slipway_sandbox.kubernetes.core_rules import immutable
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_APPROVED = "api-approved.kubernetes.io"
# A version's field, and what the internal type calls the one that is common to all versions.
_SHARED = {
    "schema": "validation",
    "subresources": "subresources",
    "additionalPrinterColumns": "additionalPrinterColumns",
    "selectableFields": "selectableFields",
}


def definition(new: Object, old: Object | None) -> list[Cause]:
    """Everything wrong with a definition whose defaults are filled in; `old` is None for a creation."""
    spec = new["spec"]
    causes: list[Cause] = []
    if new["metadata"]["name"] != f"{spec['names'].get('plural', '')}.{spec.get('group', '')}":
        why = 'must be spec.names.plural+"."+spec.group'
        causes.append(names.bad("metadata.name", new["metadata"]["name"], why))
    causes += _group(spec.get("group", "")) + _scope(spec.get("scope", ""))
    versions = spec.get("versions") or []
    shared = {field for field in _SHARED if _common(versions, field)}
    causes += _versions(versions, shared) + _names(spec["names"])
    if versions:
        causes += _contents(versions[0], shared, "spec", own=False)
    causes += _conversion(spec.get("conversion") or {})
    if not any(version.get("storage") for version in versions):
        why = "must have at least one stored version"
        causes.append(Cause("status.storedVersions", f"Invalid value: null: {why}"))
    causes += _approval(new)
    if spec.get("preserveUnknownFields"):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        causes.append(names.bad("spec.preserveUnknownFields", True, why))
    return causes + _changes(spec, old["spec"] if old else None)


def _changes(spec: Object, old: Object | None) -> list[Cause]:
    if old is None:
        return []
    causes: list[Cause] = []
    for field in ("group", "scope"):
        causes += immutable(spec[field], old[field], f"spec.{field}")
    for field in ("plural", "kind"):
        causes += immutable(spec["names"][field], old["names"][field], f"spec.names.{field}")
    return causes


def _common(versions: list[Object], field: str) -> bool:
    return bool(versions) and all(v.get(field) == versions[0].get(field) for v in versions)


def _group(group: str) -> list[Cause]:
    if not group:
        return [names.required("spec.group")]
    if wrong := names.subdomain("spec.group", group):
        return wrong
    return (
        [] if "." in group else [names.bad("spec.group", group, "should be a domain with at least one dot")]
    )


def _scope(scope: str) -> list[Cause]:
    if not scope:
        return [names.required("spec.scope")]
    allowed = ("Cluster", "Namespaced")
    return [] if scope in allowed else [names.unsupported("spec.scope", scope, allowed)]


def _versions(versions: list[Object], shared: set[str]) -> list[Cause]:
    causes = [
        names.required(f"spec.versions[{index}].schema.openAPIV3Schema")
        for index, version in enumerate(versions)
        if not (version.get("schema") or {}).get("openAPIV3Schema")
    ]
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        causes += names.label_1035(f"{path}.name", version["name"])
        if version.get("deprecationWarning") and not version.get("deprecated"):
            why = "can only be set for deprecated versions"
            causes.append(names.bad(f"{path}.deprecationWarning", version["deprecationWarning"], why))
        causes += _contents(version, shared, path, own=True)
    if len({version["name"] for version in versions}) != len(versions):
        causes.append(names.bad("spec.versions", versions, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        why = "must have exactly one version marked as storage version"
        causes.append(names.bad("spec.versions", versions, why))
    if versions:
        causes += names.label_1035("spec.version", versions[0]["name"])
    return causes


def _contents(version: Object, shared: set[str], path: str, *, own: bool) -> list[Cause]:
    """Schema, subresources and columns: those of this version alone (`own`), or those that all of them share."""
    causes: list[Cause] = []
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema and own is ("schema" not in shared):
        where = "schema" if own else "validation"
        causes += structural_rules.structural(schema, f"{path}.{where}.openAPIV3Schema")
        causes += cel_rules.compile_errors(schema, f"{path}.{where}.openAPIV3Schema")
    if own is ("subresources" not in shared):
        scale = (version.get("subresources") or {}).get("scale")
        causes += _scale(scale, f"{path}.subresources.scale") if scale is not None else []
    if own is ("additionalPrinterColumns" not in shared):
        for index, column in enumerate(version.get("additionalPrinterColumns") or []):
            causes += _column(column, f"{path}.additionalPrinterColumns[{index}]")
    if own is ("selectableFields" not in shared):
        for index, field in enumerate(version.get("selectableFields") or []):
            causes += _selectable(
                field.get("jsonPath", ""), schema or {}, f"{path}.selectableFields[{index}]"
            )
    return causes


def _scale(scale: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for field, below in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        value = scale.get(field, "")
        if not value:
            causes.append(names.required(f"{path}.{field}"))
        elif wrong := _simple_path(value, f"{path}.{field}"):
            causes += wrong
        elif not value.startswith(f"{below}."):
            causes.append(names.bad(f"{path}.{field}", value, f"should be a json path under {below}"))
    if selector := scale.get("labelSelectorPath"):
        if wrong := _simple_path(selector, f"{path}.labelSelectorPath"):
            causes += wrong
        elif not selector.startswith((".spec.", ".status.")):
            why = "should be a json path under either .spec or .status"
            causes.append(names.bad(f"{path}.labelSelectorPath", selector, why))
    return causes


def _column(column: Object, path: str) -> list[Cause]:
    causes = [] if column.get("name") else [names.required(f"{path}.name")]
    kinds = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not column.get("type"):
        causes.append(names.required(f"{path}.type", kinds))
    elif column["type"] not in _COLUMN_TYPES:
        causes.append(names.bad(f"{path}.type", column["type"], kinds))
    if not column.get("jsonPath"):
        causes.append(names.required(f"{path}.JSONPath"))
    else:
        causes += _simple_path(column["jsonPath"], f"{path}.JSONPath")
    return causes


def _simple_path(value: str, path: str) -> list[Cause]:
    return (
        []
        if value.startswith(".")
        else [names.bad(path, value, "must be a simple json path starting with .")]
    )


def _selectable(json_path: str, schema: Any, path: str) -> list[Cause]:
    for part in json_path.split(".")[1:]:
        schema = (schema.get("properties") or {}).get(part)
        if not isinstance(schema, dict):
            why = "is an invalid path: does not refer to a valid field"
            return [names.bad(f"{path}.jsonPath", json_path, why)]
    return []


def _names(given: Object) -> list[Cause]:
    where = "spec.names"
    causes = [
        names.required(f"{where}.{field}")
        for field in ("plural", "singular", "kind", "listKind")
        if not given.get(field)
    ]
    for field in ("plural", "singular"):
        causes += names.label_1035(f"{where}.{field}", given[field]) if given.get(field) else []
    for field in ("kind", "listKind"):
        if (value := given.get(field)) and (wrong := names.label_1035(f"{where}.{field}", value.lower())):
            why = wrong[0].message.partition(": ")[2].partition(": ")[2]
            may = f"may have mixed case, but should otherwise match: {why}"
            causes.append(names.bad(f"{where}.{field}", value, may))
    for index, name in enumerate(given.get("shortNames") or []):
        causes += names.label_1035(f"{where}.shortNames[{index}]", name)
    if given.get("kind") and given["kind"] == given.get("listKind"):
        why = "kind and listKind may not be the same"
        causes.append(names.bad(f"{where}.listKind", given["listKind"], why))
    for index, name in enumerate(given.get("categories") or []):
        causes += names.label_1035(f"{where}.categories[{index}]", name)
    return causes


def _conversion(conversion: Object) -> list[Cause]:
    strategy = conversion.get("strategy", "None")
    if strategy not in ("None", "Webhook"):
        return [names.unsupported("spec.conversion.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        return []
    webhook, causes = conversion.get("webhook") or {}, []
    if not webhook.get("clientConfig"):
        why = "required when strategy is set to Webhook"
        causes.append(names.required("spec.conversion.webhookClientConfig", why))
    if not webhook.get("conversionReviewVersions"):
        causes.append(names.required("spec.conversion.conversionReviewVersions"))
    return causes


def _approval(new: Object) -> list[Cause]:
    group = new["spec"].get("group", "")
    kept = group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))
    if not kept or (new["metadata"].get("annotations") or {}).get(_APPROVED):
        return []
    why = (
        f'protected groups must have approval annotation "{_APPROVED}", '
        "see https://github.com/kubernetes/enhancements/pull/1111"
    )
    return [names.required(f"metadata.annotations[{_APPROVED}]", why)]
