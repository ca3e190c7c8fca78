"""S3's index in memory over bodies in files: buckets, keys, versions, uploads.

Nothing here reads or holds a body. The index lives as long as the process, as all of AWS does in a sandbox; the
folder is emptied when it starts.
"""

from __future__ import annotations

import bisect
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from slipway_sandbox.aws.s3.checksums import Checksum
from slipway_sandbox.aws.s3.errors import S3Error

NULL_VERSION = "null"
ALL_128K = "all_storage_classes_128K"  # since September 2024 the default


@dataclass
class Blob:
    """Bytes in files, one after another. Shared by copies; the files go when the last holder lets go."""

    files: tuple[tuple[Path, int], ...]  # (path, size in bytes)
    holders: int = 1

    @property
    def size(self) -> int:
        return sum(size for _, size in self.files)


@dataclass(frozen=True)
class Part:
    """One part of a multipart upload, or of the object it became."""

    number: int
    size: int
    etag: str
    checksum: Checksum
    modified: datetime


@dataclass
class Version:
    """One version of an object; `headers` go back to who reads it."""

    key: str
    version_id: str
    modified: datetime
    blob: Blob | None  # None: a delete marker
    etag: str = ""
    checksum: Checksum | None = None
    headers: dict[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        return self.blob.size if self.blob else 0


@dataclass
class Upload:
    """A multipart upload under way. `declared`: the client named the checksum algorithm itself."""

    upload_id: str
    key: str
    started: datetime
    algorithm: str
    kind: str
    declared: bool
    headers: dict[str, str]
    parts: dict[int, tuple[Part, Blob]] = field(default_factory=dict)


@dataclass
class Bucket:
    name: str
    region: str
    created: datetime
    owner: str  # an account
    documents: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    versioning: str = ""  # "", Enabled, Suspended
    transition_size: str = ALL_128K  # of the lifecycle, kept beside its document
    uploads: dict[str, Upload] = field(default_factory=dict)
    versions: dict[str, list[Version]] = field(default_factory=dict)  # newest last
    keys: list[str] = field(default_factory=list)  # sorted; code points sort as UTF-8 does

    def latest(self, key: str) -> Version | None:
        found = self.versions.get(key)
        return found[-1] if found else None

    def first_key(self, start: str) -> str | None:
        """The first key at or after `start`."""
        at = bisect.bisect_left(self.keys, start)
        return self.keys[at] if at < len(self.keys) else None

    def from_key(self, start: str) -> Iterator[str]:
        """Keys at or after `start`, in order."""
        for at in range(bisect.bisect_left(self.keys, start), len(self.keys)):
            yield self.keys[at]

    def upload(self, upload_id: str, key: str) -> Upload:
        found = self.uploads.get(upload_id)
        if found is None or found.key != key:
            raise S3Error("NoSuchUpload", UploadId=upload_id)
        return found


class Store:
    """All buckets. Hold `lock` while touching them; bodies are read and written outside it."""

    def __init__(self, folder: Path) -> None:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, mode=0o700)
        self._folder = folder
        self.lock = threading.RLock()
        self.buckets: dict[str, Bucket] = {}

    def bucket(self, name: str) -> Bucket:
        """Raises NoSuchBucket."""
        try:
            return self.buckets[name]
        except KeyError:
            raise S3Error("NoSuchBucket", BucketName=name) from None

    def new_file(self) -> Path:
        """A fresh place for a body."""
        name = secrets.token_hex(16)
        folder = self._folder / name[:2]
        folder.mkdir(exist_ok=True)
        return folder / name

    def hold(self, blob: Blob) -> Blob:
        """One more user of the bytes: a reader, or a copy."""
        with self.lock:
            blob.holders += 1
        return blob

    def release(self, blob: Blob | None) -> None:
        if blob is None:
            return
        with self.lock:
            blob.holders -= 1
            last = blob.holders == 0
        if last:
            for path, _ in blob.files:
                path.unlink()

    def add(self, bucket: Bucket, version: Version) -> Version:
        """Put a version (or a delete marker) on top, as the bucket's versioning says."""
        with self.lock:
            version.version_id = secrets.token_urlsafe(24) if bucket.versioning == "Enabled" else NULL_VERSION
            if version.version_id == NULL_VERSION:
                self._drop(bucket, version.key, NULL_VERSION)
            if version.key not in bucket.versions:
                bucket.versions[version.key] = []
                bisect.insort(bucket.keys, version.key)
            bucket.versions[version.key].append(version)
        return version

    def remove(self, bucket: Bucket, key: str, version_id: str) -> Version | None:
        """Take one version away for good; None where there is none of that id."""
        with self.lock:
            return self._drop(bucket, key, version_id)

    def _drop(self, bucket: Bucket, key: str, version_id: str) -> Version | None:
        for version in bucket.versions.get(key, []):
            if version.version_id == version_id:
                bucket.versions[key].remove(version)
                if not bucket.versions[key]:
                    del bucket.versions[key]
                    del bucket.keys[bisect.bisect_left(bucket.keys, key)]
                self.release(version.blob)
                return version
        return None


def now() -> datetime:
    return datetime.now(UTC)
