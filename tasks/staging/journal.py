"""Observe what an earlier run left in S3 and decide what is left to do. The bucket is the only journal: no disk lasts.

A file's state is in its object, in a record beside it (`.slipway/files/PATH.json`, written once the object's bytes were
proven), and in a multipart upload in progress with the checksums of its parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pydantic import ValidationError

from tasks.records.results import HubFile, HubModel, StagedFile
from tasks.staging.folder import StagedFolder
from tasks.staging.hashes import FileHash, combined, crc64nvme, encoded
from tasks.staging.objects import AlreadyThere, Bucket, SentPart, UploadGone
from tasks.staging.parts import cut


class Action(Enum):
    """What is to be done for one file."""

    NOTHING = "nothing"
    READ_BACK = "read back"  # the object is there without proof
    SEND = "send"  # from the first part, or what an open upload lacks
    REPLACE = "replace"  # the object cannot be this file


@dataclass(frozen=True)
class FileState:
    """One file as it is in the bucket. `object_size` in bytes, None where there is no object."""

    object_size: int | None = None
    object_crc64nvme: str | None = None
    record: StagedFile | None = None


def decide(file: HubFile, state: FileState) -> Action:
    """Decide what to do for one file. A record counts only with an object that still has its checksum. Pure."""
    if state.object_size is None:
        return Action.SEND
    if state.object_size != file.size:
        return Action.REPLACE
    record = state.record
    if record and _same_file(record, file) and record.crc64nvme == state.object_crc64nvme:
        return Action.NOTHING
    return Action.READ_BACK


def _same_file(record: StagedFile, file: HubFile) -> bool:
    return record.size == file.size and (file.sha256 is None or record.sha256 == file.sha256)


def read_record(folder: StagedFolder, path: str) -> StagedFile | None:
    """Read a file's record; None where it cannot be read, and proves nothing."""
    stored = folder.bucket.get(folder.record_key(path))
    if stored is None:
        return None
    try:
        return StagedFile.model_validate_json(stored[0])
    except ValidationError:
        return None


def write_record(folder: StagedFolder, staged: StagedFile) -> None:
    bucket, key = folder.bucket, folder.record_key(staged.path)
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
    """By path: the action for each file, the records of those that are proven, the uploads in progress."""

    actions: dict[str, Action]
    proven: dict[str, StagedFile]
    uploads: dict[str, list[str]]


def observe(folder: StagedFolder, model: HubModel, known: Mapping[str, StagedFile] | None = None) -> Observed:
    """Observe every file: one listing of objects, one of uploads, and two small requests for each object found.

    `known`: records by path from an earlier manifest, for files that have none of their own.
    """
    known = known or {}
    sizes = folder.sizes()
    uploads: dict[str, list[str]] = {}
    for key, upload in folder.bucket.open_uploads(folder.key("")):
        uploads.setdefault(key.removeprefix(folder.key("")), []).append(upload)
    actions: dict[str, Action] = {}
    proven: dict[str, StagedFile] = {}
    for file in model.files:
        key = folder.key(file.path)
        state = FileState(sizes.get(key))
        record = known.get(file.path)
        if state.object_size is not None and folder.record_key(file.path) in sizes:
            record = read_record(folder, file.path) or record
        if state.object_size is not None and record:
            head = folder.bucket.head(key)
            state = FileState(head.size if head else None, head.crc64nvme if head else None, record)
        actions[file.path] = decide(file, state)
        if actions[file.path] is Action.NOTHING and state.record:
            proven[file.path] = state.record
    return Observed(actions, proven, uploads)


def best_upload(
    bucket: Bucket, key: str, uploads: Sequence[str], sizes: dict[int, int]
) -> tuple[str, dict[int, SentPart]] | None:
    """The open upload that holds most of our parts (`sizes`: bytes by number), with those parts."""
    best: tuple[str, dict[int, SentPart]] | None = None
    for upload in uploads:
        try:
            sent = bucket.sent_parts(key, upload)
        except UploadGone:
            continue
        if any(sizes.get(part.number) != part.size for part in sent.values()):
            continue  # cut into other parts than ours
        if best is None or len(sent) > len(best[1]):
            best = (upload, sent)
    return best


def read_back(folder: StagedFolder, file: HubFile, part_size: int) -> StagedFile | None:
    """Prove an object by reading it; None where it is not the hub's file. Holds one part in memory."""
    whole = FileHash(file.size)
    parts: list[tuple[int, int]] = []
    for part in cut(file.size, part_size):
        data = folder.bucket.stream(folder.key(file.path), part.offset, part.size) if part.size else b""
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
