"""Listings: ListObjectsV2 and ListObjectVersions, with prefixes, delimiters and pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.s3.message import OWNER_ID, Answer, S3Request, xml_answer
from slipway_sandbox.aws.s3.reading import quote_etag
from slipway_sandbox.aws.s3.store import Bucket, Store, Version

LAST = "\U0010ffff"  # sorts after everything that can follow a prefix


@dataclass
class Page:
    """One page: what is on it, the common prefixes, and where the next begins (None: there is no next)."""

    items: list[Any] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: str = ""
    truncated: bool = False


def collect(
    bucket: Bucket, prefix: str, delimiter: str, after: str, limit: int, pick: Callable[[str], Any | None]
) -> Page:
    """Keys beyond `after`, each as `pick` shows it (None: not shown); keys under a delimiter count as one."""
    page = Page()
    if limit == 0:
        return page
    for key in _keys(bucket, prefix, delimiter, after):
        rest = key[len(prefix) :]
        cut = rest.find(delimiter) if delimiter else -1
        if cut >= 0:
            shown: Any = prefix + rest[: cut + len(delimiter)]
            if shown <= after or not _any_under(bucket, shown, pick):
                continue
        else:
            shown = pick(key)
            if shown is None:
                continue
        if len(page.items) + len(page.prefixes) == limit:
            page.truncated = True
            break
        if cut >= 0:
            page.prefixes.append(shown)
            page.last = shown
        else:
            page.items.append(shown)
            page.last = key
    return page


def _keys(bucket: Bucket, prefix: str, delimiter: str, after: str) -> Iterator[str]:
    """The first key of every group, jumping over what a common prefix covers."""
    start = max(prefix, after + "\0" if after else "")
    while True:
        key = bucket.first_key(start)
        if key is None or not key.startswith(prefix):
            return
        yield key
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        start = key[: cut + len(delimiter)] + LAST if cut >= 0 else key + "\0"


def _any_under(bucket: Bucket, prefix: str, pick: Callable[[str], Any | None]) -> bool:
    for key in bucket.from_key(prefix):
        if not key.startswith(prefix):
            return False
        if pick(key) is not None:
            return True
    return False


def list_objects_v2(store: Store, request: S3Request) -> Answer:
    query = request.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    token, limit = query.get("continuation-token"), request.number("max-keys", 1000, 0, 1000)
    after = _decode_token(token) if token else query.get("start-after", "")
    with store.lock:
        bucket = store.bucket(request.bucket)
        page = collect(bucket, prefix, delimiter, after, limit, lambda key: _present(bucket, key))
    encode = _encoder(request)
    owner = query.get("fetch-owner") == "true"
    return xml_answer(
        "ListBucketResult",
        ("Name", bucket.name),
        ("Prefix", encode(prefix)),
        ("Delimiter", encode(delimiter) if delimiter else None),
        ("StartAfter", encode(query["start-after"]) if query.get("start-after") else None),
        ("ContinuationToken", token),
        ("NextContinuationToken", _encode_token(page.last) if page.truncated else None),
        ("KeyCount", len(page.items) + len(page.prefixes)),
        ("MaxKeys", limit),
        ("EncodingType", query.get("encoding-type")),
        ("IsTruncated", page.truncated),
        *(("Contents", _contents(version, encode, owner=owner)) for version in page.items),
        *(("CommonPrefixes", [("Prefix", encode(common))]) for common in page.prefixes),
    )


def list_object_versions(store: Store, request: S3Request) -> Answer:
    """Versions of a key are newest first. A page may end within a key: `version-id-marker` says where."""
    query = request.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker, id_marker = query.get("key-marker", ""), query.get("version-id-marker", "")
    limit = request.number("max-keys", 1000, 0, 1000)
    with store.lock:
        bucket = store.bucket(request.bucket)
        head = _rest_of_key(bucket, key_marker, id_marker)
        page = collect(
            bucket, prefix, delimiter, key_marker, limit + 1, lambda key: bucket.versions[key][::-1]
        )
        latest = {v.key: v.version_id for v in (found[-1] for found in bucket.versions.values())}
    rows = [*head, *(version for versions in page.items for version in versions)]
    entries: list[tuple[str, Version | None]] = sorted(
        [(v.key, v) for v in rows] + [(p, None) for p in page.prefixes], key=lambda entry: entry[0]
    )
    shown, truncated = entries[:limit], len(entries) > limit or page.truncated
    encode = _encoder(request)
    last_key, last = shown[-1] if shown else ("", None)
    return xml_answer(
        "ListVersionsResult",
        ("Name", bucket.name),
        ("Prefix", encode(prefix)),
        ("KeyMarker", encode(key_marker)),
        ("VersionIdMarker", id_marker),
        ("NextKeyMarker", encode(last_key) if truncated else None),
        ("NextVersionIdMarker", last.version_id if truncated and last else None),
        ("MaxKeys", limit),
        ("Delimiter", encode(delimiter) if delimiter else None),
        ("EncodingType", query.get("encoding-type")),
        ("IsTruncated", truncated),
        *(_version_row(v, encode, v.version_id == latest[v.key]) for _, v in shown if v),
        *(("CommonPrefixes", [("Prefix", encode(key))]) for key, v in shown if v is None),
    )


def _rest_of_key(bucket: Bucket, key: str, version_id: str) -> list[Version]:
    if not version_id:
        return []
    versions = bucket.versions.get(key, [])[::-1]
    ids = [v.version_id for v in versions]
    return versions[ids.index(version_id) + 1 :] if version_id in ids else []


def _present(bucket: Bucket, key: str) -> Version | None:
    version = bucket.latest(key)
    return version if version and version.blob else None


def _contents(version: Version, encode: Callable[[str], str], *, owner: bool) -> list[tuple[str, Any]]:
    checksum = version.checksum
    return [
        ("Key", encode(version.key)),
        ("LastModified", version.modified),
        ("ETag", quote_etag(version.etag)),
        ("ChecksumAlgorithm", checksum.algorithm if checksum else None),
        ("ChecksumType", checksum.kind if checksum else None),
        ("Size", version.size),
        ("Owner", [("ID", OWNER_ID)] if owner else None),
        ("StorageClass", version.headers.get("x-amz-storage-class", "STANDARD")),
    ]


def _version_row(version: Version, encode: Callable[[str], str], latest: bool) -> tuple[str, Any]:
    common = [("VersionId", version.version_id), ("IsLatest", latest)]
    if version.blob is None:
        return "DeleteMarker", [
            ("Key", encode(version.key)),
            *common,
            ("LastModified", version.modified),
            ("Owner", [("ID", OWNER_ID)]),
        ]
    return "Version", [*_contents(version, encode, owner=True), *common]


def _encoder(request: S3Request) -> Callable[[str], str]:
    if request.query.get("encoding-type") == "url":
        return lambda text: quote(text, safe="/-_.~*()!'")
    return lambda text: text


def _encode_token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _decode_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from None
