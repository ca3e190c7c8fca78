"""Bodies in and media types out: JSON, YAML and the protobuf Helm sends; Tables and partial metadata on request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml
from aiohttp import web

from slipway_sandbox.kubernetes import errors, parsing, patches, protobuf
from slipway_sandbox.kubernetes.store import encode

JSON = "application/json"
YAML = "application/yaml"
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
BODY_TYPES = (JSON, YAML, protobuf.MEDIA_TYPE)


def decode_body(raw: bytes, content_type: str, duplicates: list[str] | None = None) -> Any:
    """An object's body. Raises ApiStatus 400 for what cannot be parsed, 415 for another media type.

    What the decoder says of keys that were written twice is added to `duplicates`.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media == protobuf.MEDIA_TYPE:
        return protobuf.decode(raw)
    if media not in ("", JSON, YAML):
        raise errors.unsupported_media_type(BODY_TYPES)
    return _parse(raw, media == YAML, duplicates)


def decode_patch(raw: bytes, content_type: str, duplicates: list[str]) -> tuple[str, Any]:
    """A patch and its type. Raises ApiStatus 400 or 415."""
    media = content_type.partition(";")[0].strip().lower()
    if media == patches.APPLY:
        return media, _parse(raw, raw.lstrip()[:1] != b"{", duplicates)
    if media not in (patches.JSON, patches.MERGE, patches.STRATEGIC):
        raise errors.ApiStatus(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
    return media, _parse(raw, False, duplicates)


def _parse(raw: bytes, is_yaml: bool, duplicates: list[str] | None) -> Any:
    value, twice = parsing.parse_yaml(raw) if is_yaml else parsing.parse_json(raw)
    if duplicates is not None:
        duplicates += twice
    return value


def json_response(
    value: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """JSON without the charset that aiohttp would add: clients compare the whole header."""
    return web.Response(body=encode(value), status=status, headers=headers, content_type=JSON)


def wanted_form(accept: str) -> str:
    """`Table`, `PartialObjectMetadata`, `PartialObjectMetadataList` or "" for the object itself.

    Raises ApiStatus 406 where the client takes nothing we can make.
    """
    choices = [choice.strip() for choice in accept.split(",") if choice.strip()]
    for choice in choices:
        media, _, parameters = choice.partition(";")
        if media.strip() == YAML:
            return ""
        if media.strip() in (JSON, "*/*", "application/*"):
            form = re.search(r"as=(\w+)", parameters)
            if form is None or form[1] in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
                return form[1] if form else ""
    if choices and not any(c.startswith(("*/*", "application/*", JSON)) for c in choices):
        raise errors.ApiStatus(
            406,
            "NotAcceptable",
            f"only the following media types are accepted: {JSON}, {YAML}",
        )
    return ""


def spoken(response: web.StreamResponse, accept: str) -> web.StreamResponse:
    """The answer in YAML, where the client asks for that first. Streams and other texts stay as they are."""
    first = accept.partition(",")[0].partition(";")[0].strip()
    if first != YAML or not isinstance(response, web.Response) or response.content_type != JSON:
        return response
    assert isinstance(response.body, bytes)
    text = yaml.dump(json.loads(response.body), Dumper=_Dumper, default_flow_style=False)
    headers = {name: value for name, value in response.headers.items() if name == "Warning"}
    return web.Response(text=text, status=response.status, content_type=YAML, headers=headers)
