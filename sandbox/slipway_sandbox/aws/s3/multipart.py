"""Multipart uploads: parts land in files of their own, and Complete only joins them in the index."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

from slipway_sandbox.aws.s3 import checksums, encryption
from slipway_sandbox.aws.s3.checksums import FULL, Checksum
from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.s3.message import Answer, S3Request, parse, xml_answer
from slipway_sandbox.aws.s3.objects import Objects, id_header, kept_headers
from slipway_sandbox.aws.s3.reading import quote_etag, read_blocks
from slipway_sandbox.aws.s3.store import Blob, Bucket, Part, Store, Upload, Version, now

MAX_PARTS = 10_000
MIN_PART = 5 << 20  # bytes, of every part but the last


class Multipart:
    """Create, UploadPart, UploadPartCopy, ListParts, Complete, Abort."""

    def __init__(self, store: Store, objects: Objects) -> None:
        self._store, self._objects = store, objects

    def create_multipart_upload(self, request: S3Request) -> Answer:
        named = request.headers.get("x-amz-checksum-algorithm")
        algorithm, kind = checksums.upload_checksum(named, request.headers.get("x-amz-checksum-type"))
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
            sealed = encryption.headers_for(bucket, request.headers)
            upload = Upload(
                upload_id=secrets.token_urlsafe(48),
                key=request.key,
                started=now(),
                algorithm=algorithm,
                kind=kind,
                declared=named is not None,
                headers=kept_headers(request.headers) | sealed,
            )
            bucket.uploads[upload.upload_id] = upload
        answer = xml_answer(
            "InitiateMultipartUploadResult",
            ("Bucket", bucket.name),
            ("Key", request.key),
            ("UploadId", upload.upload_id),
        )
        answer.headers |= sealed
        if upload.declared:
            answer.headers |= {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
        return answer

    def upload_part(self, request: S3Request) -> Answer:
        number = _part_number(request)
        with self._store.lock:
            upload = self._upload(request)
        _require_algorithm(upload, request.headers)
        kms = encryption.by_kms(upload.headers)
        received, path = self._objects.receive_body(request, md5=not kms, algorithm=upload.algorithm)
        etag = received.md5 if received.md5 and not kms else encryption.opaque_etag()
        part = Part(number, received.size, etag, received.checksum, now())
        self._keep(request, part, path)
        headers = {"ETag": quote_etag(etag), **received.checksum.headers(kind=False)}
        return Answer(200, headers=headers | _sealing(upload))

    def upload_part_copy(self, request: S3Request) -> Answer:
        number = _part_number(request)
        with self._store.lock:
            upload = self._upload(request)
        _, source = self._objects.copy_source(request)
        assert source.blob
        start, end = _copy_range(request.headers.get("x-amz-copy-source-range"), source.size)
        digest, md5 = checksums.digest_for(upload.algorithm), hashlib.md5(usedforsecurity=False)
        path = self._store.new_file()
        blob = self._store.hold(source.blob)
        try:
            with path.open("wb", buffering=0) as file:
                for block in read_blocks(blob, start, end):
                    digest.update(block)
                    md5.update(block)
                    file.write(block)
        finally:
            self._store.release(blob)
        etag = encryption.opaque_etag() if encryption.by_kms(upload.headers) else md5.hexdigest()
        part = Part(number, end - start, etag, Checksum(upload.algorithm, digest.digest()), now())
        self._keep(request, part, path)
        answer = xml_answer(
            "CopyPartResult",
            ("LastModified", part.modified),
            ("ETag", quote_etag(etag)),
            (part.checksum.member, part.checksum.value),
        )
        answer.headers |= _sealing(upload)
        return answer

    def _keep(self, request: S3Request, part: Part, path: Path) -> None:
        """Put the part in its upload, in place of an earlier one of its number."""
        blob = Blob(((path, part.size),))
        with self._store.lock:
            try:
                upload = self._upload(request)  # it may have been aborted meanwhile
            except S3Error:
                self._store.release(blob)
                raise
            before = upload.parts.get(part.number)
            upload.parts[part.number] = (part, blob)
        if before:
            self._store.release(before[1])

    def list_parts(self, request: S3Request) -> Answer:
        limit = request.number("max-parts", 1000, 0, 1000)
        after = request.number("part-number-marker", 0, 0, MAX_PARTS)
        with self._store.lock:
            upload = self._upload(request)
            parts = sorted((p for p, _ in upload.parts.values() if p.number > after), key=lambda p: p.number)
        shown = parts[:limit]
        return xml_answer(
            "ListPartsResult",
            ("Bucket", request.bucket),
            ("Key", request.key),
            ("UploadId", upload.upload_id),
            ("PartNumberMarker", after),
            ("NextPartNumberMarker", shown[-1].number if shown else after),
            ("MaxParts", limit),
            ("IsTruncated", len(parts) > len(shown)),
            ("ChecksumAlgorithm", upload.algorithm if upload.declared else None),
            ("ChecksumType", upload.kind if upload.declared else None),
            *(
                (
                    "Part",
                    [
                        ("PartNumber", part.number),
                        ("LastModified", part.modified),
                        ("ETag", quote_etag(part.etag)),
                        ("Size", part.size),
                        (part.checksum.member, part.checksum.value),
                    ],
                )
                for part in shown
            ),
            ("StorageClass", "STANDARD"),
        )

    def abort_multipart_upload(self, request: S3Request) -> Answer:
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
            upload = bucket.upload(request.query["uploadId"], request.key)
            del bucket.uploads[upload.upload_id]
        for _, blob in upload.parts.values():
            self._store.release(blob)
        return Answer(204)

    def complete_multipart_upload(self, request: S3Request) -> Answer:
        wanted = parse(request.document()).findall("Part")
        if not wanted:
            raise S3Error("MalformedXML")
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
            upload = bucket.upload(request.query["uploadId"], request.key)
            chosen = _choose(upload, wanted)
            checksum = checksums.over_parts(
                upload.algorithm, upload.kind, [(p.checksum, p.size) for p, _ in chosen]
            )
            _verify(upload, checksum, chosen, request.headers)
            version = self._join(bucket, upload, chosen, checksum, request)
        location = f"http://{request.headers.get('host', '')}/{bucket.name}/{request.key}"
        answer = xml_answer(
            "CompleteMultipartUploadResult",
            ("Location", location),
            ("Bucket", bucket.name),
            ("Key", request.key),
            ("ETag", quote_etag(version.etag)),
            (checksum.member, checksum.value),
            ("ChecksumType", checksum.kind),
        )
        answer.headers |= _sealing(upload) | id_header(bucket, version)
        return answer

    def _join(
        self,
        bucket: Bucket,
        upload: Upload,
        chosen: list[tuple[Part, Blob]],
        checksum: Checksum,
        request: S3Request,
    ) -> Version:
        """The object made of the chosen parts; it takes their files over. On a failed condition the
        upload stays as it was.
        """
        self._objects.check_write(bucket, request)
        joined = Blob(tuple(file for _, blob in chosen for file in blob.files))
        version = Version(
            key=upload.key,
            version_id="",
            modified=now(),
            blob=joined,
            etag=_etag([part for part, _ in chosen], encryption.by_kms(upload.headers)),
            checksum=checksum,
            headers=upload.headers,
            parts=tuple(part for part, _ in chosen),
        )
        self._store.add(bucket, version)
        del bucket.uploads[upload.upload_id]
        used = {part.number for part, _ in chosen}
        for number, (_, blob) in upload.parts.items():
            if number not in used:
                self._store.release(blob)
        return version

    def _upload(self, request: S3Request) -> Upload:
        return self._store.bucket(request.bucket).upload(request.query["uploadId"], request.key)


def list_uploads(store: Store, request: S3Request) -> Answer:
    """ListMultipartUploads: by key, then by start."""
    limit = request.number("max-uploads", 1000, 1, 1000)
    prefix, after = request.query.get("prefix", ""), request.query.get("key-marker", "")
    after_id = request.query.get("upload-id-marker", "")
    with store.lock:
        uploads = sorted(store.bucket(request.bucket).uploads.values(), key=lambda u: (u.key, u.started))
    rest = [u for u in uploads if u.key.startswith(prefix) and u.key > after]
    if after_id:
        ids = [u.upload_id for u in uploads]
        rest = (
            [u for u in uploads[ids.index(after_id) + 1 :] if u.key.startswith(prefix)]
            if after_id in ids
            else rest
        )
    shown = rest[:limit]
    truncated = len(rest) > limit
    return xml_answer(
        "ListMultipartUploadsResult",
        ("Bucket", request.bucket),
        ("KeyMarker", after),
        ("UploadIdMarker", after_id),
        ("NextKeyMarker", shown[-1].key if truncated else None),
        ("NextUploadIdMarker", shown[-1].upload_id if truncated else None),
        ("Prefix", prefix),
        ("MaxUploads", limit),
        ("IsTruncated", truncated),
        *(
            (
                "Upload",
                [
                    ("Key", u.key),
                    ("UploadId", u.upload_id),
                    ("Initiated", u.started),
                    ("StorageClass", "STANDARD"),
                    ("ChecksumAlgorithm", u.algorithm if u.declared else None),
                    ("ChecksumType", u.kind if u.declared else None),
                ],
            )
            for u in shown
        ),
    )


def _part_number(request: S3Request) -> int:
    text = request.query.get("partNumber", "")
    if not text.isdigit() or not 1 <= int(text) <= MAX_PARTS:
        raise S3Error(
            "InvalidArgument",
            "Part number must be an integer between 1 and 10000, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=text,
        )
    return int(text)


def _require_algorithm(upload: Upload, headers: Mapping[str, str]) -> None:
    """A part must carry the algorithm the upload was created with, and none where it was created without."""
    claim = checksums.claimed(headers)
    given = claim[0] if claim else None
    expected = upload.algorithm if upload.declared else None
    computed_for_it = expected is not None and upload.kind == FULL and given is None
    if given != expected and not computed_for_it:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {(expected or 'null').lower()}, "
            f"actual checksum Type: {(given or 'null').lower()}",
        )


def _copy_range(text: str | None, size: int) -> tuple[int, int]:
    if text is None:
        return 0, size
    first, _, last = text.removeprefix("bytes=").partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last) < size):
        raise S3Error(
            "InvalidArgument",
            f"Range specified is not valid for source object of size: {size}",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=text,
        )
    return int(first), int(last) + 1


def _choose(upload: Upload, wanted: list[Element]) -> list[tuple[Part, Blob]]:
    """The parts Complete names. Raises InvalidPart, InvalidPartOrder, EntityTooSmall, InvalidRequest."""
    chosen: list[tuple[Part, Blob]] = []
    for element in wanted:
        text, etag = element.findtext("PartNumber") or "", (element.findtext("ETag") or "").strip('"')
        if not text.isdigit():
            raise S3Error("MalformedXML")
        number = int(text)
        found = upload.parts.get(number)
        if chosen and number <= chosen[-1][0].number:
            raise S3Error("InvalidPartOrder", UploadId=upload.upload_id)
        if found is None or found[0].etag != etag:
            raise S3Error("InvalidPart", UploadId=upload.upload_id, PartNumber=number, ETag=etag)
        claim = element.findtext(found[0].checksum.member)
        if claim is not None and claim != found[0].checksum.value:
            raise S3Error("InvalidPart", UploadId=upload.upload_id, PartNumber=number, ETag=etag)
        if claim is None and upload.declared and upload.kind != FULL:
            name = upload.algorithm.lower()
            raise S3Error(
                "InvalidRequest",
                f"The upload was created using a {name} checksum. The complete request must include the checksum for "
                f"each part. It was missing for part {number} in the request.",
            )
        chosen.append(found)
    for part, _ in chosen[:-1]:
        if part.size < MIN_PART:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=part.size,
                MinSizeAllowed=MIN_PART,
                PartNumber=part.number,
                ETag=part.etag,
            )
    return chosen


def _verify(
    upload: Upload, checksum: Checksum, chosen: list[tuple[Part, Blob]], headers: Mapping[str, str]
) -> None:
    """What the request says of the whole object. Raises BadDigest or InvalidRequest."""
    size = sum(part.size for part, _ in chosen)
    said = headers.get("x-amz-mp-object-size")
    if said is not None and said != str(size):
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {said} does not match what was computed: {size}",
        )
    kind = headers.get("x-amz-checksum-type")
    if kind and kind != upload.kind:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.kind}, actual checksum Type: {kind}",
        )
    claim = checksums.claimed(headers)
    if claim is None:
        return
    if claim[0] != upload.algorithm:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm.lower()}, "
            f"actual checksum Type: {claim[0].lower()}",
        )
    if claim[1] != checksum.value:
        raise S3Error(
            "BadDigest",
            f"The {upload.algorithm.lower()} you specified did not match the calculated checksum.",
        )


def _etag(parts: list[Part], kms: bool) -> str:
    """MD5 over the parts' MD5s and their number; no MD5 of the object."""
    if kms:
        return f"{encryption.opaque_etag()}-{len(parts)}"
    joined = hashlib.md5(b"".join(bytes.fromhex(p.etag) for p in parts), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(parts)}"


def _sealing(upload: Upload) -> dict[str, str]:
    return {k: v for k, v in upload.headers.items() if k.startswith(encryption.SSE)}
