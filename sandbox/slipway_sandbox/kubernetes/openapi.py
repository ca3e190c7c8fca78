"""OpenAPI v3: what Helm and kubectl read before they apply, and `kubectl explain` shows."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from slipway_sandbox.kubernetes import errors
from slipway_sandbox.kubernetes.definitions import VERSION, load_document
from slipway_sandbox.kubernetes.resources import Registry, Resource

Document = dict[str, Any]
_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation")
]


_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"  # as it is asked for
_V2_ANSWER = _V2_PROTOBUF.replace("@", ".")  # "@" is not a token in a Content-Type


def version_2(accept: str) -> tuple[bytes, str]:
    """/openapi/v2 and its media type: a document without definitions.

    kubectl asks for it when it meets a kind that v3 does not have, only to go on to `no matches for kind`.
    """
    title, version = "Kubernetes", f"v{VERSION}.0"
    if _V2_PROTOBUF not in accept:
        info = {"title": title, "version": version}
        document = {"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}
        return json.dumps(document).encode(), "application/json"
    return _text(1, b"2.0") + _text(2, _text(1, title.encode()) + _text(2, version.encode())), _V2_ANSWER


def _text(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes; all here are shorter than 128."""
    return bytes([number << 3 | 2, len(data)]) + data


def _root(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def index(registry: Registry) -> Document:
    """/openapi/v3: one document a group version; the hash changes with what is served there."""
    paths = {}
    for group, version in registry.group_versions():
        plurals = sorted(
            f"{r.plural}:{json.dumps(r.schema, sort_keys=True) if r.custom else ''}"
            for r in registry
            if (r.group, r.version) == (group, version)
        )
        digest = hashlib.sha256("\n".join(plurals).encode()).hexdigest()[:32].upper()
        root = _root(group, version)
        paths[root] = {"serverRelativeURL": f"/openapi/v3/{root}?hash={digest}"}
    return {"paths": paths}


def document(registry: Registry, group: str, version: str) -> Document:
    """One group version's paths and schemas. Raises ApiStatus 404."""
    found = [r for r in registry if (r.group, r.version) == (group, version)]
    if not found:
        raise errors.no_such_path()
    schemas: dict[str, Document] = {}
    built_in = load_document()
    paths = {}
    for resource, name in _names(found, built_in).items():
        if not resource.custom:
            _collect(name, built_in, schemas)
        else:
            schemas[name] = resource.schema | {"x-kubernetes-group-version-kind": [_gvk(resource)]}
        paths.update(_paths(resource, name))
    if any(r.custom for r in found):
        _collect("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", built_in, schemas)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": f"v{VERSION}.0"},
        "paths": paths,
        "components": {"schemas": _rewritten(schemas)},
    }


def _gvk(resource: Resource) -> Document:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _paths(resource: Resource, schema_name: str) -> Document:
    scope = "namespaces/{namespace}/" if resource.namespaced else ""
    base = f"/{_root(resource.group, resource.version)}/{scope}{resource.plural}"
    reference = {"$ref": f"#/components/schemas/{schema_name}"}
    content = {"application/json": {"schema": reference}}

    def operation(action: str) -> Document:
        return {
            "parameters": _PARAMETERS if action in ("post", "put", "patch", "delete") else [],
            "responses": {"200": {"description": "OK", "content": content}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(resource),
        }

    paths: Document = {
        base: {verb: operation(action) for verb, action in (("get", "list"), ("post", "post"))}
    }
    if resource.stored:
        paths[f"{base}/{{name}}"] = {verb: operation(verb) for verb in ("get", "put", "patch", "delete")}
    return paths


def _names(found: list[Resource], built_in: dict[str, Document]) -> dict[Resource, str]:
    """Each resource's schema name: upstream's for built-in kinds, reversed group for custom ones."""
    kinds = {
        (gvk["group"], gvk["version"], gvk["kind"]): name
        for name, schema in built_in.items()
        for gvk in schema.get("x-kubernetes-group-version-kind", [])
        if len(schema["x-kubernetes-group-version-kind"]) == 1
    }
    names = {}
    for resource in found:
        reversed_group = ".".join(reversed(resource.group.split(".")))
        own = f"{reversed_group}.{resource.version}.{resource.kind}"
        names[resource] = own if resource.custom else kinds[resource.group, resource.version, resource.kind]
    return names


def _collect(name: str, source: dict[str, Document], into: dict[str, Document]) -> None:
    """A schema and all it refers to."""
    if name in into:
        return
    into[name] = source[name]
    text = json.dumps(source[name])
    for part in text.split('"#/$defs/')[1:]:
        _collect(part.partition('"')[0], source, into)


def _rewritten(schemas: dict[str, Document]) -> Document:
    """References and types in OpenAPI 3.0's spelling: one type, never a list with null."""
    text = json.dumps(schemas).replace('"#/$defs/', '"#/components/schemas/')
    rewritten: Document = _single_types(json.loads(text))
    return rewritten


def _single_types(node: Any) -> Any:
    if isinstance(node, dict):
        found = {key: _single_types(value) for key, value in node.items()}
        if isinstance(kinds := node.get("type"), list) and all(isinstance(kind, str) for kind in kinds):
            found["type"] = next((kind for kind in kinds if kind != "null"), "object")
        return found
    if isinstance(node, list):
        return [_single_types(value) for value in node]
    return node
