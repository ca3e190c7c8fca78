"""Checksums of a file: sha256 over its bytes in order, and CRC64NVME, which combines from its parts in any order.

The hub lists sha256 (its LFS oid), and git's blob sha1 for small files that are not in LFS.
S3 checks CRC64NVME of each part and combines them to that of the object.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterable
from typing import cast

from awscrt import checksums

from tasks.records.results import HubFile
from tasks.staging.stop import Stop, Stopped


def crc64nvme(data: bytes | bytearray | memoryview) -> int:
    return cast(int, checksums.crc64nvme(data))


def combined(parts: Iterable[tuple[int, int]]) -> int:
    """The CRC64NVME of a file from the (CRC64NVME, bytes) of its parts in order."""
    total = 0
    for crc, size in parts:
        total = cast(int, checksums.combine_crc64nvme(total, crc, size))
    return total


def encoded(crc: int) -> str:
    """A CRC64NVME as S3 writes it: base64 over eight bytes, big-endian."""
    return base64.b64encode(crc.to_bytes(8, "big")).decode()


class FileHash:
    """sha256, and git's blob sha1, of one file fed in order."""

    def __init__(self, size: int) -> None:
        self._sha256 = hashlib.sha256()
        # Git's object id, not a safeguard: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        self._git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)

    def update(self, data: memoryview, *, git: bool) -> None:
        self._sha256.update(data)
        if git:
            self._git.update(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def mismatch(self, file: HubFile) -> str | None:
        """How the file differs from what the hub lists; None where it does not, or the hub lists no hash."""
        if file.sha256:
            return None if self.sha256 == file.sha256 else f"sha256 {self.sha256}, the hub says {file.sha256}"
        if file.git_sha1:
            git_sha1 = self._git.hexdigest()
            return None if git_sha1 == file.git_sha1 else f"git sha1 {git_sha1}, the hub says {file.git_sha1}"
        return None


class SerialHash:
    """Hashes one file's parts in order, on a thread of its own; they may arrive in any order."""

    def __init__(self, file: HubFile, count: int, stop: Stop) -> None:
        self._git = not file.sha256
        self._hash = FileHash(file.size)
        self._count = count
        self._next = 0
        self._waiting: dict[int, tuple[memoryview, Callable[[], None]]] = {}
        self._changed = threading.Condition()
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name=f"hash {file.path}", daemon=True)
        self._thread.start()

    def feed(self, index: int, data: memoryview, done: Callable[[], None]) -> None:
        """Hand over part `index`, from 0. `done()` is called when its bytes are no longer needed."""
        with self._changed:
            wanted = index < self._count
            if wanted:
                self._waiting[index] = (data, done)
                self._changed.notify_all()
        if not wanted:  # cancelled meanwhile
            data.release()
            done()

    def result(self) -> FileHash:
        """Wait until every part has been hashed. Raises Stopped when the transfer ends first."""
        with self._changed:
            while self._next < self._count:
                self._stop.check()
                self._changed.wait(0.5)
        return self._hash

    def cancel(self) -> None:
        """Take no more parts, and release those that wait."""
        with self._changed:
            self._count = 0
            waiting = list(self._waiting.values())
            self._waiting.clear()
            self._changed.notify_all()
        for data, done in waiting:
            data.release()
            done()

    def _run(self) -> None:
        try:
            while part := self._take():
                data, done = part
                try:
                    self._hash.update(data, git=self._git)
                finally:
                    data.release()
                    done()
                with self._changed:
                    self._next += 1
                    self._changed.notify_all()
        except Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for the transfer
            self._stop.set(error)

    def _take(self) -> tuple[memoryview, Callable[[], None]] | None:
        """The next part in order; None after the last."""
        with self._changed:
            while self._next < self._count and self._next not in self._waiting:
                self._stop.check()
                self._changed.wait(0.5)
            return self._waiting.pop(self._next) if self._next < self._count else None
