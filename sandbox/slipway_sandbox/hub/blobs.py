"""Contents of files: where the bytes come from, and their ids, computed once and remembered."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slipway_sandbox.hub import git

LFS_THRESHOLD = 10_000_000  # bytes; the hub refuses larger files as plain git blobs
_CHUNK = 4 << 20
_ZEROS = bytes(1 << 20)


class Source(Protocol):
    """Bytes that can be read from any offset."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end."""
        ...


@dataclass(frozen=True)
class FileSource:
    """A file on disk: the server hands it to the kernel (sendfile) where it can."""

    path: Path
    size: int

    def read(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), length, offset)


@dataclass(frozen=True)
class ZeroSource:
    """A head followed by zeros up to `size`: a weights file too large to keep, whose header is true."""

    head: bytes
    size: int

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        known = self.head[offset : offset + length]
        rest = length - len(known)
        if not known and rest == len(_ZEROS):
            return _ZEROS
        return known + bytes(rest)


@dataclass(frozen=True)
class Blob:
    """One content. `sha256` is set for a file kept in LFS, whose `oid` is then the pointer's own git id."""

    oid: str
    size: int
    sha256: str | None
    source: Source

    @property
    def pointer_size(self) -> int:
        """Bytes of the LFS pointer git holds in place of this file."""
        return len(git.lfs_pointer(self.sha256 or "", self.size))


def large_blob(source: Source, sha256: str) -> Blob:
    return Blob(git.object_id("blob", git.lfs_pointer(sha256, source.size)), source.size, sha256, source)


def lfs_patterns(gitattributes: str) -> list[str]:
    """The patterns a .gitattributes file sends to LFS."""
    rules = (line.split() for line in gitattributes.splitlines())
    return [rule[0] for rule in rules if "filter=lfs" in rule[1:] and not rule[0].startswith("#")]


def is_large(path: str, size: int, patterns: Sequence[str]) -> bool:
    """Whether the hub keeps this file in LFS: by its size in bytes, or by a .gitattributes pattern."""
    name = path.rpartition("/")[2]
    return size >= LFS_THRESHOLD or any(
        fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(name, pattern) for pattern in patterns
    )


class Hasher:
    """Ids of files, remembered by size and mtime in `memory` (JSON): models of many GB are read once."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list[int | str]] = json.loads(memory.read_text()) if memory.exists() else {}
        self._changed = False

    def blob(self, path: Path, large: bool) -> Blob:
        stat = path.stat()
        source = FileSource(path, stat.st_size)
        key = f"{'sha256' if large else 'git'}:{path}"
        known = self._known.get(key)
        if known is None or known[:2] != [stat.st_size, stat.st_mtime_ns]:
            known = [stat.st_size, stat.st_mtime_ns, _digest(path, stat.st_size, large)]
            self._known[key] = known
            self._changed = True
        digest = str(known[2])
        return large_blob(source, digest) if large else Blob(digest, stat.st_size, None, source)

    def save(self) -> None:
        if self._changed:
            partial = self._memory.with_suffix(f".{os.getpid()}.partial")
            partial.write_text(json.dumps(self._known))
            partial.replace(self._memory)
            self._changed = False


def _digest(path: Path, size: int, large: bool) -> str:
    prefix = f"blob {size}\0".encode()
    digest = hashlib.sha256() if large else hashlib.sha1(prefix, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
