"""Objects: put, get, head, copy, delete, with S3's conditions, ranges and checksums."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from slipway_sandbox.aws.s3 import checksums, encryption
from slipway_sandbox.aws.s3.buckets import check_owner
from slipway_sandbox.aws.s3.checksums import FULL, Checksum
from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.s3.message import Answer, S3Request, http_date, parse, xml_answer
from slipway_sandbox.aws.s3.reading import (
    Download,
    check_read,
    etag_in,
    find_version,
    hang_up,
    quote_etag,
    read_blocks,
)
from slipway_sandbox.aws.s3.receiving import Expectation, Received, receive
from slipway_sandbox.aws.s3.store import Blob, Bucket, Store, Version, now
from slipway_sandbox.faults import Faults

KEPT_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-amz-storage-class",
)
RANGE = re.compile(r"bytes=(\d*)-(\d*)")
KEY_LIMIT = 1024  # bytes


class Objects:
    """PutObject, GetObject, HeadObject, CopyObject, DeleteObject(s), and what they share with multipart uploads."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults

    def put_object(self, request: S3Request) -> Answer:
        if len(request.key.encode()) > KEY_LIMIT:
            raise S3Error(
                "KeyTooLongError", "Your key is too long", Size=len(request.key), MaxSizeAllowed=KEY_LIMIT
            )
        bucket = self._store.bucket(request.bucket)
        self.check_write(bucket, request)
        sealed = encryption.headers_for(bucket, request.headers)
        received, path = self.receive_body(request, md5=not encryption.by_kms(sealed))
        version = Version(
            key=request.key,
            version_id="",
            modified=now(),
            blob=Blob(((path, received.size),)),
            etag=received.md5 if received.md5 and not encryption.by_kms(sealed) else encryption.opaque_etag(),
            checksum=received.checksum,
            headers=kept_headers(request.headers) | sealed,
        )
        self.commit(bucket, request, version)
        return Answer(
            200,
            headers={
                "ETag": quote_etag(version.etag),
                **received.checksum.headers(),
                **sealed,
                **id_header(bucket, version),
            },
        )

    def commit(self, bucket: Bucket, request: S3Request, version: Version) -> None:
        """Make the version the newest, if the request's conditions still hold; else its bytes go."""
        with self._store.lock:
            try:
                self._store.bucket(request.bucket)
                self.check_write(bucket, request)
            except S3Error:
                self._store.release(version.blob)
                raise
            self._store.add(bucket, version)

    def receive_body(
        self, request: S3Request, *, md5: bool, algorithm: str | None = None
    ) -> tuple[Received, Path]:
        """Take the request's body into a new file, which is gone again when anything is wrong."""
        expected = Expectation.of(request.headers)
        path = self._store.new_file()
        cut = self._faults.hit("s3-disconnect", target=request.operation)

        def interrupt(size: int) -> None:
            if cut and size >= expected.length // 2:
                hang_up(request)

        try:
            stream = request.environ["slipway.body"]
            return receive(stream, expected, path, md5=md5, algorithm=algorithm, interrupt=interrupt), path
        except (S3Error, ConnectionError, OSError):
            path.unlink(missing_ok=True)
            raise

    def get_object(self, request: S3Request) -> Answer:
        return self._read(request, with_body=True)

    def head_object(self, request: S3Request) -> Answer:
        return self._read(request, with_body=False)

    def _read(self, request: S3Request, *, with_body: bool) -> Answer:
        with self._store.lock:
            bucket, version = self.find(request)
            check_read(request.headers, version)
            blob = self._store.hold(version.blob) if with_body and version.blob else None
        try:
            start, end, status = self._window(request, version)
            headers = self._read_headers(request, bucket, version, partial=status == 206)
        except S3Error:
            self._store.release(blob)
            raise
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{version.size}"
        if blob is None:
            return Answer(status, b"", headers, length=end - start)
        cut = self._faults.hit("s3-disconnect", target=request.operation)
        body = Download(self._store, request, blob, start, end, cut is not None)
        return Answer(status, body, headers, length=end - start)

    def _window(self, request: S3Request, version: Version) -> tuple[int, int, int]:
        """(first byte, one past the last, status)."""
        if "partNumber" in request.query:
            number = request.number("partNumber", 1, 1, 10_000)
            start = 0
            for at, size in [(p.number, p.size) for p in version.parts] or [(1, version.size)]:
                if at == number:
                    return start, start + size, 206 if size else 200
                start += size
            raise S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable")
        asked = RANGE.fullmatch(request.headers.get("range", ""))
        if not asked or asked.groups() == ("", ""):
            return 0, version.size, 200
        first, last = asked.groups()
        size = version.size
        start = max(0, size - int(last)) if first == "" else int(first)
        end = size if first == "" or last == "" else min(int(last) + 1, size)
        if start >= size or (first and last and int(last) < int(first)) or (first == "" and int(last) == 0):
            raise S3Error("InvalidRange", RangeRequested=asked[0], ActualObjectSize=size)
        return start, end, 206

    def _read_headers(
        self, request: S3Request, bucket: Bucket, version: Version, *, partial: bool
    ) -> dict[str, str]:
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": quote_etag(version.etag),
            "Last-Modified": http_date(version.modified),
            "Content-Type": "binary/octet-stream",
            **version.headers,
            **id_header(bucket, version),
        }
        if version.parts and "partNumber" in request.query:
            headers["x-amz-mp-parts-count"] = str(len(version.parts))
        whole = not partial or request.operation == "HeadObject"
        if request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED" and version.checksum and whole:
            headers |= version.checksum.headers()
        return headers

    def find(self, request: S3Request) -> tuple[Bucket, Version]:
        """The version asked for. Raises NoSuchBucket, NoSuchKey, NoSuchVersion, MethodNotAllowed."""
        bucket = self._store.bucket(request.bucket)
        return bucket, find_version(bucket, request.key, request.query.get("versionId"))

    def copy_object(self, request: S3Request) -> Answer:
        bucket = self._store.bucket(request.bucket)
        _, source = self.copy_source(request)
        replace = request.headers.get("x-amz-metadata-directive", "COPY").upper() == "REPLACE"
        same = source.key == request.key and request.headers["x-amz-copy-source"].lstrip("/").startswith(
            request.bucket + "/"
        )
        sealed = encryption.headers_for(bucket, request.headers)
        if same and not replace and not any(h.startswith("x-amz-server-side") for h in request.headers):
            raise S3Error(
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself without changing the "
                "object's metadata, storage class, website redirect location or encryption attributes.",
            )
        plain = {k: v for k, v in source.headers.items() if not k.startswith("x-amz-server-side")}
        assert source.blob
        blob = self._store.hold(source.blob)
        version = Version(
            key=request.key,
            version_id="",
            modified=now(),
            blob=blob,
            etag=self._copied_etag(source, sealed),
            checksum=self._copied_checksum(request, source),
            headers=(kept_headers(request.headers) if replace else plain) | sealed,
        )
        self.commit(bucket, request, version)
        assert version.checksum
        answer = xml_answer(
            "CopyObjectResult",
            ("LastModified", version.modified),
            ("ETag", quote_etag(version.etag)),
            (version.checksum.member, version.checksum.value),
            ("ChecksumType", version.checksum.kind),
        )
        answer.headers |= sealed | id_header(bucket, version)
        return answer

    def _copied_etag(self, source: Version, sealed: Mapping[str, str]) -> str:
        """A copy is one part: its ETag is the MD5 of the bytes, unless KMS seals it."""
        if encryption.by_kms(sealed):
            return encryption.opaque_etag()
        plain = "-" not in source.etag and not encryption.by_kms(source.headers)
        if plain or source.blob is None:
            return source.etag
        md5 = hashlib.md5(usedforsecurity=False)
        for block in read_blocks(source.blob, 0, source.size):
            md5.update(block)
        return md5.hexdigest()

    def _copied_checksum(self, request: S3Request, source: Version) -> Checksum:
        """Copies get a full-object checksum: the source's own where it has that, else worked out from the bytes."""
        assert source.checksum and source.blob
        named = request.headers.get("x-amz-checksum-algorithm")
        wanted = checksums.algorithm_named(named) if named else source.checksum.algorithm
        if source.checksum.kind == FULL and source.checksum.algorithm == wanted:
            return source.checksum
        digest = checksums.digest_for(wanted)
        for block in read_blocks(source.blob, 0, source.size):
            digest.update(block)
        return Checksum(wanted, digest.digest())

    def copy_source(self, request: S3Request) -> tuple[Bucket, Version]:
        """The version `x-amz-copy-source` names, its conditions checked."""
        text = request.headers["x-amz-copy-source"]
        path, _, query = text.partition("?")
        name, _, key = unquote(path).lstrip("/").partition("/")
        version_id = dict(parse_qsl(query)).get("versionId")
        check_owner(self._store, name, request, "x-amz-source-expected-bucket-owner")
        with self._store.lock:
            bucket = self._store.bucket(name)
            version = find_version(bucket, key, version_id)
        prefix = "x-amz-copy-source-"
        conditions = {
            k.removeprefix(prefix): v for k, v in request.headers.items() if k.startswith(prefix + "if-")
        }
        try:
            check_read(conditions, version)
        except S3Error as error:
            raise S3Error("PreconditionFailed", Condition=f"{prefix}{next(iter(conditions))}") from error
        return bucket, version

    def delete_object(self, request: S3Request) -> Answer:
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
            if wanted := request.headers.get("if-match"):
                present = bucket.latest(request.key)
                if present is None or present.blob is None or not etag_in(wanted, present.etag):
                    raise S3Error("PreconditionFailed", Condition="If-Match")
            return Answer(204, headers=self._delete(bucket, request.key, request.query.get("versionId")))

    def _delete(self, bucket: Bucket, key: str, version_id: str | None) -> dict[str, str]:
        if version_id is not None:
            gone = self._store.remove(bucket, key, version_id)
            marker = {"x-amz-delete-marker": "true"} if gone and gone.blob is None else {}
            return {"x-amz-version-id": version_id, **marker}
        if not bucket.versioning:
            self._store.remove(bucket, key, "null")
            return {}
        added = self._store.add(bucket, Version(key, "", now(), None))
        return {"x-amz-delete-marker": "true", "x-amz-version-id": added.version_id}

    def delete_objects(self, request: S3Request) -> Answer:
        root = parse(request.document())
        entries = root.findall("Object")
        if not entries or len(entries) > 1000:
            raise S3Error("MalformedXML")
        quiet = root.findtext("Quiet") == "true"
        rows: list[tuple[str, list[tuple[str, str]]]] = []
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
            for entry in entries:
                key, version_id = entry.findtext("Key") or "", entry.findtext("VersionId")
                done = self._delete(bucket, key, version_id)
                row = [("Key", key)]
                if version_id:
                    row.append(("VersionId", version_id))
                if "x-amz-delete-marker" in done:
                    row += [("DeleteMarker", "true"), ("DeleteMarkerVersionId", done["x-amz-version-id"])]
                rows.append(("Deleted", row))
        return xml_answer("DeleteResult", *([] if quiet else rows))

    def check_write(self, bucket: Bucket, request: S3Request) -> None:
        """If-None-Match: * and If-Match of a write. Raises PreconditionFailed, NoSuchKey, NotImplemented."""
        with self._store.lock:
            present = bucket.latest(request.key)
        exists = present is not None and present.blob is not None
        none_match, match = request.headers.get("if-none-match"), request.headers.get("if-match")
        if none_match is not None and none_match != "*":
            raise S3Error(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                Header="If-None-Match",
            )
        if none_match and exists:
            raise S3Error("PreconditionFailed", Condition="If-None-Match")
        if match and not exists:
            raise S3Error("NoSuchKey", Key=request.key)
        if match and present and not etag_in(match, present.etag):
            raise S3Error("PreconditionFailed", Condition="If-Match")


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What an object keeps of the request that made it."""
    kept = {k: v for k, v in headers.items() if k in KEPT_HEADERS or k.startswith("x-amz-meta-")}
    if content_type := headers.get("content-type"):
        kept["Content-Type"] = content_type
    return kept


def id_header(bucket: Bucket, version: Version) -> dict[str, str]:
    return {"x-amz-version-id": version.version_id} if bucket.versioning else {}
