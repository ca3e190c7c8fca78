"""What an earlier run left in S3, and what follows from it. The bucket is the only journal: no disk is promised to last.

Three things tell the state of a file: the object, a record beside it (`.slipway/files/PATH.json`, written once the
object's bytes were proven), and a multipart upload in progress with the checksums of its parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pydantic import ValidationError

from tasks.records.results import HubFile, HubModel, StagedFile
from tasks.staging.hashes import FileHash, combined, crc64nvme, encoded
from tasks.staging.objects import AlreadyThere, Bucket, SentPart, UploadGone
from tasks.staging.parts import cut

OWN_FOLDER = ".slipway"


class Step(Enum):
    """What is to be done for one file."""

    NOTHING = "nothing"
    READ_BACK = "read back"  # the object is there and nothing says it was proven
    SEND = "send"  # from the first part, or what an open upload lacks
    REPLACE = "replace"  # the object cannot be this file


@dataclass(frozen=True)
class Found:
    """One file as it is in the bucket. `object_size` in bytes, None where there is no object."""

    object_size: int | None = None
    object_crc64nvme: str | None = None
    record: StagedFile | None = None


def decide(file: HubFile, found: Found) -> Step:
    """The step for one file. A record counts only with an object that still has its checksum."""
    if found.object_size is None:
        return Step.SEND
    if found.object_size != file.size:
        return Step.REPLACE
    record = found.record
    if record and _same_file(record, file) and record.crc64nvme == found.object_crc64nvme:
        return Step.NOTHING
    return Step.READ_BACK


def _same_file(record: StagedFile, file: HubFile) -> bool:
    return record.size == file.size and (file.sha256 is None or record.sha256 == file.sha256)


def record_key(prefix: str, path: str) -> str:
    return f"{prefix}/{OWN_FOLDER}/files/{path}.json"


def read_record(bucket: Bucket, prefix: str, path: str) -> StagedFile | None:
    """A record that cannot be read proves nothing: the object is then read back."""
    found = bucket.get(record_key(prefix, path))
    if found is None:
        return None
    try:
        return StagedFile.model_validate_json(found[0])
    except ValidationError:
        return None


def write_record(bucket: Bucket, prefix: str, staged: StagedFile) -> None:
    key = record_key(prefix, staged.path)
    body = json.dumps(staged.model_dump(mode="json")).encode()
    try:
        bucket.put(key, body, crc64nvme(body))
    except AlreadyThere:  # another run's, or one whose object was replaced
        bucket.delete(key)
        try:
            bucket.put(key, body, crc64nvme(body))
        except AlreadyThere:
            return  # that other run proved the same object


@dataclass(frozen=True)
class Observed:
    """A whole prefix: a step and, where the file is proven, its record, for each path; open uploads by path."""

    steps: dict[str, Step]
    proven: dict[str, StagedFile]
    uploads: dict[str, list[str]]


def observe(
    bucket: Bucket, prefix: str, model: HubModel, known: Mapping[str, StagedFile] | None = None
) -> Observed:
    """Read what is there: one listing, one of uploads, and two small requests for each object found.

    `known`: records by path from an earlier manifest, which serve where a file has none of its own.
    """
    known = known or {}
    sizes = bucket.sizes(f"{prefix}/")
    uploads: dict[str, list[str]] = {}
    for key, upload in bucket.open_uploads(f"{prefix}/"):
        uploads.setdefault(key.removeprefix(f"{prefix}/"), []).append(upload)
    steps: dict[str, Step] = {}
    proven: dict[str, StagedFile] = {}
    for file in model.files:
        key = f"{prefix}/{file.path}"
        found = Found(sizes.get(key))
        record = known.get(file.path)
        if found.object_size is not None and record_key(prefix, file.path) in sizes:
            record = read_record(bucket, prefix, file.path) or record
        if found.object_size is not None and record:
            head = bucket.head(key)
            found = Found(head.size if head else None, head.crc64nvme if head else None, record)
        steps[file.path] = decide(file, found)
        if steps[file.path] is Step.NOTHING and found.record:
            proven[file.path] = found.record
    return Observed(steps, proven, uploads)


def best_upload(
    bucket: Bucket, key: str, uploads: list[str], sizes: dict[int, int]
) -> tuple[str, dict[int, SentPart]] | None:
    """The open upload that holds most of the plan's parts (`sizes`: bytes by number), with those parts."""
    best: tuple[str, dict[int, SentPart]] | None = None
    for upload in uploads:
        try:
            sent = bucket.sent_parts(key, upload)
        except UploadGone:
            continue
        if any(sizes.get(part.number) != part.size for part in sent.values()):
            continue  # cut otherwise: its parts and ours would not make one file
        if best is None or len(sent) > len(best[1]):
            best = (upload, sent)
    return best


def read_back(bucket: Bucket, prefix: str, file: HubFile, part_size: int) -> StagedFile | None:
    """Prove an object by reading it; None where it is not the hub's file. Holds one part in memory."""
    whole = FileHash(file.size)
    parts: list[tuple[int, int]] = []
    for part in cut(file.size, part_size):
        data = bucket.stream(f"{prefix}/{file.path}", part.offset, part.size) if part.size else b""
        whole.update(memoryview(data), git=not file.sha256)
        parts.append((crc64nvme(data), len(data)))
    if whole.mismatch(file):
        return None
    return staged_file(file, whole.sha256, parts, part_size)


def staged_file(file: HubFile, sha256: str, parts: list[tuple[int, int]], part_size: int) -> StagedFile:
    """The record of a proven file from its parts' (CRC64NVME, bytes)."""
    return StagedFile(
        path=file.path,
        size=file.size,
        sha256=sha256,
        crc64nvme=encoded(combined(parts)),
        part_size=part_size,
        parts=tuple(encoded(crc) for crc, _ in parts),
    )
