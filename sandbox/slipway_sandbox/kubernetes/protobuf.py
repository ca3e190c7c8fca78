"""The few protobuf bodies typed Go clients send (Helm keeps its releases as Secrets). Answers stay JSON.

Field numbers: k8s.io/api/core/v1/generated.proto, k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto; the envelope
is `runtime.Unknown` behind the magic `k8s\\0`.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

from slipway_sandbox.kubernetes import errors
from slipway_sandbox.kubernetes.protobuf_fields import KINDS, Fields

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


class _UnknownField(Exception):
    """A field with a value has a number that is not listed: dropping it would store something else than was sent."""


def decode(raw: bytes) -> dict[str, Any]:
    """The JSON form of a protobuf body. Raises ApiStatus 400 for a broken one, 415 for a kind not known here."""
    if not raw.startswith(_MAGIC):
        raise errors.bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    try:
        envelope = dict(_fields(raw[len(_MAGIC) :]))
        kind = _message(envelope[1], {1: ("apiVersion", "str"), 2: ("kind", "str")})
        if kind["kind"] not in KINDS:
            raise errors.unsupported_media_type(("application/json", "application/yaml"))
        return kind | _message(envelope.get(2, b""), KINDS[kind["kind"]])
    except _UnknownField as field:
        raise errors.ApiStatus(
            415,
            "UnsupportedMediaType",
            f"protobuf field {field} of {kind['kind']} is not known here: send JSON",
        ) from None
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


def _message(data: bytes, fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        if number not in fields:
            if value in (b"", 0):
                continue  # Go writes empty structs and zeros of fields nobody set
            raise _UnknownField(number)
        name, kind = fields[number]
        if kind == "-":
            continue
        if kind == "[str":
            found.setdefault(name, []).append(value.decode())
        elif kind in ("map", "bytemap"):
            pair = dict(_fields(value))
            found.setdefault(name, {})[pair.get(1, b"").decode()] = _map_value(pair.get(2, b""), kind)
        elif isinstance(kind, list):
            found.setdefault(name, []).append(_message(value, kind[0]))
        else:
            found[name] = _single(value, kind)
    return {name: value for name, value in found.items() if value not in ("", {}, None)}


def _map_value(data: bytes, kind: str) -> str:
    if kind == "bytemap":
        return base64.b64encode(data).decode()
    return data.decode()


def _single(value: Any, kind: Any) -> Any:
    """One value; None for what Go wrote only because it always writes it."""
    if isinstance(kind, dict):
        return _message(value, kind)
    if kind == "str":
        return value.decode()
    if kind == "time":
        seconds = dict(_fields(value)).get(1)
        return seconds and dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    number = value - (1 << 64) if value >= 1 << 63 else value
    if kind in ("bool", "bool?"):
        return bool(number) if kind == "bool?" or number else None
    return number if kind == "int?" or number else None
