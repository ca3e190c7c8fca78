"""How an object is found and read: versions, conditions, ranges of bytes in blocks."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

from slipway_sandbox.aws.http import Truncated
from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.s3.message import S3Request, http_date, parse_http_date
from slipway_sandbox.aws.s3.receiving import BLOCK
from slipway_sandbox.aws.s3.store import Blob, Bucket, Store, Version


class Download:
    """A body on its way out. `close` lets the bytes go, also where nobody began to read."""

    def __init__(self, store: Store, request: S3Request, blob: Blob, start: int, end: int, cut: bool) -> None:
        self._store, self._request, self._blob = store, request, blob
        self._start, self._end, self._cut = start, end, cut
        self._open = True

    def __iter__(self) -> Iterator[memoryview]:
        end = self._start + (self._end - self._start) // 2 if self._cut else self._end
        yield from read_blocks(self._blob, self._start, end)
        if self._cut:
            hang_up(self._request)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._store.release(self._blob)


def find_version(bucket: Bucket, key: str, version_id: str | None) -> Version:
    """Raises NoSuchKey, NoSuchVersion, or MethodNotAllowed for a delete marker."""
    if version_id is None:
        version = bucket.latest(key)
        if version is None:
            raise S3Error("NoSuchKey", Key=key)
        if version.blob is None:
            raise S3Error(
                "NoSuchKey",
                headers={"x-amz-delete-marker": "true", "x-amz-version-id": version.version_id},
                Key=key,
            )
        return version
    for version in bucket.versions.get(key, []):
        if version.version_id == version_id:
            if version.blob is None:
                raise S3Error("MethodNotAllowed", headers={"x-amz-delete-marker": "true"}, Method="GET")
            return version
    raise S3Error("NoSuchVersion", Key=key, VersionId=version_id)


def check_read(headers: Mapping[str, str], version: Version) -> None:
    """The four conditions of a read, in RFC 7232's order. Raises PreconditionFailed or NotModified."""
    modified = version.modified.replace(microsecond=0)
    if match := headers.get("if-match"):
        if not etag_in(match, version.etag):
            raise S3Error("PreconditionFailed", Condition="If-Match")
    elif (since := parse_http_date(headers.get("if-unmodified-since", ""))) and modified > since:
        raise S3Error("PreconditionFailed", Condition="If-Unmodified-Since")
    validators = {"ETag": quote_etag(version.etag), "Last-Modified": http_date(version.modified)}
    if none_match := headers.get("if-none-match"):
        if etag_in(none_match, version.etag):
            raise S3Error("NotModified", "Not Modified", headers=validators)
    elif (since := parse_http_date(headers.get("if-modified-since", ""))) and modified <= since:
        raise S3Error("NotModified", "Not Modified", headers=validators)


def read_blocks(blob: Blob, start: int, end: int) -> Iterator[memoryview]:
    """Bytes start to end in blocks of at most 1 MiB, all in one buffer: use each before asking for the next."""
    buffer = memoryview(bytearray(min(BLOCK, max(end - start, 1))))
    offset = 0
    for path, size in blob.files:
        first, last = max(start - offset, 0), min(end - offset, size)
        offset += size
        if first >= last:
            continue
        with path.open("rb", buffering=0) as file:
            file.seek(first)
            while first < last:
                got = file.readinto(buffer[: last - first])
                if not got:
                    raise Truncated(f"{path.name} is shorter than the index says")
                yield buffer[:got]
                first += got


def hang_up(request: S3Request) -> None:
    """Cut the connection. Always raises ConnectionResetError."""
    request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("the fault s3-disconnect cut the connection")


def quote_etag(etag: str) -> str:
    return f'"{etag}"'


def etag_in(condition: str, etag: str) -> bool:
    wanted = {tag.strip().removeprefix("W/").strip('"') for tag in condition.split(",")}
    return "*" in wanted or etag in wanted
