"""Validation of a CustomResourceDefinition: its name, its versions and the rules in their schemas.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation. Whether a schema is structural is not checked: the
definitions here are those of the sandbox's own charts.
"""

from __future__ import annotations

from slipway_sandbox.kubernetes import cel_rules, names
from slipway_sandbox.kubernetes.core_rules import immutable
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object


def definition(new: Object, old: Object | None) -> list[Cause]:
    """Everything wrong with a definition whose defaults are filled in; `old` is None for a creation."""
    spec, causes = new["spec"], _versions(new["spec"].get("versions") or [])
    if new["metadata"]["name"] != f"{spec['names'].get('plural', '')}.{spec.get('group', '')}":
        why = 'must be spec.names.plural+"."+spec.group'
        causes.append(names.bad("metadata.name", new["metadata"]["name"], why))
    allowed = ("Cluster", "Namespaced")
    if (scope := spec.get("scope")) not in allowed:
        causes.append(names.unsupported("spec.scope", scope, allowed))
    causes += [] if spec["names"].get("kind") else [names.required("spec.names.kind")]
    if old is not None:
        for field in ("group", "scope"):
            causes += immutable(spec[field], old["spec"][field], f"spec.{field}")
        for field in ("plural", "kind"):
            causes += immutable(spec["names"][field], old["spec"]["names"][field], f"spec.names.{field}")
    return causes


def _versions(versions: list[Object]) -> list[Cause]:
    causes: list[Cause] = []
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        causes += cel_rules.compile_errors(schema, path) if schema else [names.required(path)]
    if sum(bool(version.get("storage")) for version in versions) != 1:
        why = "must have exactly one version marked as storage version"
        causes.append(names.bad("spec.versions", versions, why))
    return causes
