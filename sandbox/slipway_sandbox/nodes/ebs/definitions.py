"""The three CustomResourceDefinitions the snapshot-controller add-on brings along.

Fields, types and rules are those of external-snapshotter v8 (client/config/crd); descriptions, columns and the v1beta1 that
is served no longer are left out, as are volume groups.
"""

from __future__ import annotations

import asyncio
from typing import Any

from slipway_sandbox.apiclient import ApiClient, ApiError, Object

GROUP = "snapshot.storage.k8s.io"
_APPROVED = "https://github.com/kubernetes-csi/external-snapshotter/pull/814"
ESTABLISH_SECONDS = 30.0

_TEXT: Object = {"type": "string"}
_ERROR: Object = {
    "type": "object",
    "properties": {"message": _TEXT, "time": {"type": "string", "format": "date-time"}},
}
_POLICY: Object = {"type": "string", "enum": ["Delete", "Retain"]}


def _rules(*pairs: tuple[str, str]) -> Object:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def _fixed(field: str) -> Object:
    return {**_TEXT, **_rules(("self == oldSelf", f"{field} is immutable"))}


def _either(first: str, second: str) -> Object:
    """Exactly one of two fields, and the one that was set stays set."""
    one = f"(has(self.{first}) && !has(self.{second})) || (!has(self.{first}) && has(self.{second}))"
    return {
        "type": "object",
        "properties": {first: _fixed(first), second: _fixed(second)},
        **_rules(
            (f"!has(oldSelf.{first}) || has(self.{first})", f"{first} is required once set"),
            (f"!has(oldSelf.{second}) || has(self.{second})", f"{second} is required once set"),
            (one, f"exactly one of {first} and {second} must be set"),
        ),
    }


def _top(properties: Object, *required: str) -> Object:
    known = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": {"type": "object"}}
    return {"type": "object", "required": list(required), "properties": {**known, **properties}}


_SNAPSHOT = _top(
    {
        "spec": {
            "type": "object",
            "required": ["source"],
            "properties": {
                "source": _either("persistentVolumeClaimName", "volumeSnapshotContentName"),
                "volumeSnapshotClassName": {
                    **_TEXT,
                    **_rules(
                        ("size(self) > 0", "volumeSnapshotClassName must not be the empty string when set")
                    ),
                },
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "boundVolumeSnapshotContentName": _TEXT,
                "creationTime": {"type": "string", "format": "date-time"},
                "error": _ERROR,
                "readyToUse": {"type": "boolean"},
                "restoreSize": {
                    "anyOf": [{"type": "integer"}, {"type": "string"}],
                    "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
                    "x-kubernetes-int-or-string": True,
                },
                "volumeGroupSnapshotName": _TEXT,
            },
        },
    },
    "spec",
)
_REFERENCE: Object = {
    "type": "object",
    "properties": dict.fromkeys(
        ("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"), _TEXT
    ),
    "x-kubernetes-map-type": "atomic",
    **_rules(
        (
            "has(self.name) && has(self.__namespace__)",
            "both spec.volumeSnapshotRef.name and spec.volumeSnapshotRef.namespace must be set",
        )
    ),
}
_CONTENT = _top(
    {
        "spec": {
            "type": "object",
            "required": ["deletionPolicy", "driver", "source", "volumeSnapshotRef"],
            "properties": {
                "deletionPolicy": _POLICY,
                "driver": _TEXT,
                "source": _either("volumeHandle", "snapshotHandle"),
                "sourceVolumeMode": _fixed("sourceVolumeMode"),
                "volumeSnapshotClassName": _TEXT,
                "volumeSnapshotRef": _REFERENCE,
            },
            **_rules(
                (
                    "!has(oldSelf.sourceVolumeMode) || has(self.sourceVolumeMode)",
                    "sourceVolumeMode is required once set",
                )
            ),
        },
        "status": {
            "type": "object",
            "properties": {
                "creationTime": {"type": "integer", "format": "int64"},
                "error": _ERROR,
                "readyToUse": {"type": "boolean"},
                "restoreSize": {"type": "integer", "format": "int64", "minimum": 0},
                "snapshotHandle": _TEXT,
                "volumeGroupSnapshotHandle": _TEXT,
            },
        },
    },
    "spec",
)
_CLASS = _top(
    {
        "deletionPolicy": _POLICY,
        "driver": _TEXT,
        "parameters": {"type": "object", "additionalProperties": _TEXT},
    },
    "deletionPolicy",
    "driver",
)


def _definition(kind: str, short: list[str], scope: str, schema: Object, status: bool) -> Object:
    plural = kind.lower() + ("es" if kind.endswith("s") else "s")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": _APPROVED},
            "labels": {"app.kubernetes.io/name": "snapshot-controller"},
        },
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short,
            },
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    **({"subresources": {"status": {}}} if status else {}),
                }
            ],
        },
    }


DEFINITIONS: tuple[Object, ...] = (
    _definition(
        "VolumeSnapshotClass",
        ["vsclass", "vsclasses"],
        "Cluster",
        _CLASS,
        status=False,
    ),
    _definition(
        "VolumeSnapshotContent",
        ["vsc", "vscs"],
        "Cluster",
        _CONTENT,
        status=True,
    ),
    _definition(
        "VolumeSnapshot",
        ["vs"],
        "Namespaced",
        _SNAPSHOT,
        status=True,
    ),
)


async def install(client: ApiClient) -> None:
    """Make what is missing of the three and wait until they are served. Raises ApiError, TimeoutError."""
    path = client.path("apiextensions.k8s.io/v1", "customresourcedefinitions")
    for definition in DEFINITIONS:
        try:
            await client.create(path, definition)
        except ApiError as error:
            if error.code != 409:  # 409: somebody installed them, or an earlier run of this program did
                raise
    async with asyncio.timeout(ESTABLISH_SECONDS):
        names = {definition["metadata"]["name"] for definition in DEFINITIONS}
        while True:
            shown = await client.list(path)
            if names <= {item["metadata"]["name"] for item in shown if _established(item)}:
                return
            await asyncio.sleep(0.05)


def _established(definition: Object) -> bool:
    conditions: list[Any] = (definition.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
