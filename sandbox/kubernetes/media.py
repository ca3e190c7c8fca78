"""Bodies in and media types out: JSON, YAML and the protobuf Helm sends; Tables and partial metadata on request."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from sandbox.kubernetes import errors, patches, protobuf

JSON = "application/json"
YAML = "application/yaml"
BODY_TYPES = (JSON, YAML, protobuf.MEDIA_TYPE)


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a date stays a string, for JSON knows no dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def decode_body(raw: bytes, content_type: str) -> Any:
    """An object's body. Raises ApiStatus 400 for what cannot be parsed, 415 for another media type."""
    media = content_type.partition(";")[0].strip().lower()
    if media == protobuf.MEDIA_TYPE:
        return protobuf.decode(raw)
    if media == YAML:
        return _yaml(raw)
    if media in ("", JSON):
        return _json(raw)
    raise errors.unsupported_media_type(BODY_TYPES)


def decode_patch(raw: bytes, content_type: str) -> tuple[str, Any]:
    """A patch and its type. Raises ApiStatus 400 or 415."""
    media = content_type.partition(";")[0].strip().lower()
    if media == patches.APPLY:
        return media, _json(raw) if raw.lstrip()[:1] == b"{" else _yaml(raw)
    if media not in (patches.JSON, patches.MERGE, patches.STRATEGIC):
        raise errors.unsupported_media_type((patches.JSON, patches.MERGE, patches.STRATEGIC, patches.APPLY))
    return media, _json(raw)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as wrong:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {wrong}") from None


def _yaml(raw: bytes) -> Any:
    try:
        return yaml.load(raw, Loader=_Loader)  # noqa: S506 -- a SafeLoader
    except yaml.YAMLError as wrong:
        raise errors.bad_request(f"error converting YAML to JSON: {wrong}") from None


def wanted_form(accept: str) -> str:
    """`Table`, `PartialObjectMetadata`, `PartialObjectMetadataList` or "" for the object itself.

    Raises ApiStatus 406 where the client takes nothing we can make.
    """
    choices = [choice.strip() for choice in accept.split(",") if choice.strip()]
    for choice in choices:
        media, _, parameters = choice.partition(";")
        if media.strip() in (JSON, "*/*", "application/*"):
            form = re.search(r"as=(\w+)", parameters)
            if form is None or form[1] in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
                return form[1] if form else ""
    if choices and not any(c.startswith(("*/*", "application/*", JSON, "text/")) for c in choices):
        raise errors.ApiStatus(
            406,
            "NotAcceptable",
            f"only the following media types are accepted: {JSON}",
        )
    return ""
