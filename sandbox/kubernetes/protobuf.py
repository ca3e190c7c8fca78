"""The few protobuf bodies typed Go clients send (Helm keeps its releases as Secrets). Answers stay JSON.

Field numbers: k8s.io/api/core/v1/generated.proto, k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto; the envelope
is `runtime.Unknown` behind the magic `k8s\\0`.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

from sandbox.kubernetes import errors

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

# A field is (JSON name, kind). Kinds: str, int, bool, bytes, time, [str, map (str to str), bytemap, or a nested message;
# a nested message in a list is [message].
_TIME = {1: ("seconds", "int"), 2: ("nanos", "int")}
_OWNER = {
    1: ("kind", "str"),
    3: ("name", "str"),
    4: ("uid", "str"),
    5: ("apiVersion", "str"),
    6: ("controller", "bool"),
    7: ("blockOwnerDeletion", "bool"),
}
_META = {
    1: ("name", "str"),
    2: ("generateName", "str"),
    3: ("namespace", "str"),
    5: ("uid", "str"),
    6: ("resourceVersion", "str"),
    7: ("generation", "int"),
    8: ("creationTimestamp", "time"),
    9: ("deletionTimestamp", "time"),
    10: ("deletionGracePeriodSeconds", "int"),
    11: ("labels", "map"),
    12: ("annotations", "map"),
    13: ("ownerReferences", [_OWNER]),
    14: ("finalizers", "[str"),
}
_KINDS: dict[str, dict[int, tuple[str, Any]]] = {
    "Secret": {
        1: ("metadata", _META),
        2: ("data", "bytemap"),
        3: ("type", "str"),
        4: ("stringData", "map"),
        5: ("immutable", "bool"),
    },
    "ConfigMap": {
        1: ("metadata", _META),
        2: ("data", "map"),
        3: ("binaryData", "bytemap"),
        4: ("immutable", "bool"),
    },
    "Namespace": {1: ("metadata", _META)},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "int"),
        2: ("preconditions", {1: ("uid", "str"), 2: ("resourceVersion", "str")}),
        3: ("orphanDependents", "bool"),
        4: ("propagationPolicy", "str"),
        5: ("dryRun", "[str"),
    },
}


def decode(raw: bytes) -> dict[str, Any]:
    """The JSON form of a protobuf body. Raises ApiStatus 400 for a broken one, 415 for a kind not known here."""
    if not raw.startswith(_MAGIC):
        raise errors.bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    try:
        envelope = dict(_fields(raw[len(_MAGIC) :]))
        kind = _message(envelope[1], {1: ("apiVersion", "str"), 2: ("kind", "str")})
        if kind["kind"] not in _KINDS:
            raise errors.unsupported_media_type(("application/json", "application/yaml"))
        return kind | _message(envelope.get(2, b""), _KINDS[kind["kind"]])
    except (KeyError, IndexError, UnicodeDecodeError, ValueError) as broken:
        raise errors.bad_request(f"proto: cannot parse: {broken!r}") from None


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value): an int for a varint, bytes for everything else."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        length = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            length, position = _varint(data, position)
        if length is None or position + length > len(data):
            raise ValueError(f"wire type {wire} at byte {position}")
        yield tag >> 3, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
        if shift > 63:
            raise ValueError("varint overflow")


def _message(data: bytes, fields: dict[int, tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        if number not in fields:
            continue
        name, kind = fields[number]
        if kind == "[str":
            found.setdefault(name, []).append(value.decode())
        elif kind in ("map", "bytemap"):
            pair = dict(_fields(value))
            item = pair.get(2, b"")
            text = item.decode() if kind == "map" else base64.b64encode(item).decode()
            found.setdefault(name, {})[pair.get(1, b"").decode()] = text
        elif isinstance(kind, list):
            found.setdefault(name, []).append(_message(value, kind[0]))
        else:
            found[name] = _single(value, kind)
    return {name: value for name, value in found.items() if value not in ("", {}, None)}


def _single(value: Any, kind: Any) -> Any:
    if isinstance(kind, dict):
        return _message(value, kind)
    if kind == "str":
        return value.decode()
    if kind == "bool":
        return bool(value)
    if kind == "time":
        seconds = _message(value, _TIME).get("seconds")
        return seconds and dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value - (1 << 64) if value >= 1 << 63 else value
