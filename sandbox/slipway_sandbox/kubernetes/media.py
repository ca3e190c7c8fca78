"""Media types: JSON and the protobuf Helm sends come in, JSON goes out, as Table or partial metadata on request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml
from aiohttp import web

from slipway_sandbox.kubernetes import errors, patches, protobuf
from slipway_sandbox.kubernetes.store import encode

JSON = "application/json"
BODY_TYPES = (JSON, protobuf.MEDIA_TYPE)


def decode_body(raw: bytes, content_type: str) -> Any:
    """An object's body. Raises ApiStatus 400 for what cannot be parsed, 415 for another media type."""
    media = content_type.partition(";")[0].strip().lower()
    if media == protobuf.MEDIA_TYPE:
        return protobuf.decode(raw)
    if media not in ("", JSON):
        raise errors.unsupported_media_type(BODY_TYPES)
    return _parse(raw)


def decode_patch(raw: bytes, content_type: str) -> tuple[str, Any]:
    """A patch and its type. Raises ApiStatus 400 or 415."""
    media = content_type.partition(";")[0].strip().lower()
    if media not in (patches.MERGE, patches.STRATEGIC, patches.APPLY):
        raise errors.ApiStatus(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
    return media, _parse(raw, may_be_yaml=media == patches.APPLY)


def _parse(raw: bytes, *, may_be_yaml: bool = False) -> Any:
    """An apply may be written in YAML; clients send JSON, of which it is a superset."""
    try:
        return yaml.safe_load(raw) if may_be_yaml and raw.lstrip()[:1] != b"{" else json.loads(raw)
    except (yaml.YAMLError, ValueError, RecursionError) as wrong:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {wrong}") from None


def json_response(
    value: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """JSON without the charset that aiohttp would add: clients compare the whole header."""
    return web.Response(body=encode(value), status=status, headers=headers, content_type=JSON)


def wanted_form(accept: str) -> str:
    """`Table`, `PartialObjectMetadata`, `PartialObjectMetadataList` or "" for the object itself."""
    for choice in accept.split(","):
        media, _, parameters = choice.strip().partition(";")
        if media.strip() in (JSON, "*/*", "application/*"):
            form = re.search(r"as=(\w+)", parameters)
            if form is None or form[1] in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
                return form[1] if form else ""
    return ""
