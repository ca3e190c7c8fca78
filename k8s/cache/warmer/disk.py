"""The volume: files written past the page cache, records replaced atomically, and disk errors as failures."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

from exits import Exit, Failure

BLOCK = 4096  # what O_DIRECT wants lengths and offsets to be multiples of


class Target:
    """One file on the volume: preallocated, written by several threads at once."""

    def __init__(self, path: Path, size: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._size = size
        self._plain = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._direct: int | None = None
        if size:
            os.posix_fallocate(self._plain, 0, size)
            try:
                self._direct = os.open(path, os.O_RDWR | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: a file system without O_DIRECT, such as tmpfs
                    raise

    @property
    def is_direct(self) -> bool:
        return self._direct is not None

    def write(self, room: memoryview, count: int, offset: int) -> None:
        """Write the first `count` bytes of `room`, padded to whole blocks at the file's end; `finish` cuts that off."""
        descriptor = self._plain
        if self._direct is not None:
            descriptor, count = self._direct, -(-count // BLOCK) * BLOCK
        done = 0
        while done < count:
            done += os.pwrite(descriptor, room[done:count], offset + done)

    def read(self, into: memoryview, offset: int) -> None:
        done = 0
        while done < len(into):
            count = os.preadv(self._plain, [into[done:]], offset + done)
            if not count:
                raise OSError(errno.EIO, "the file is shorter than the journal says")
            done += count

    def flush(self) -> None:
        os.fdatasync(self._plain)

    def finish(self) -> None:
        """Cut the padding off and sync."""
        os.ftruncate(self._plain, self._size)
        os.fsync(self._plain)

    def close(self) -> None:
        os.close(self._plain)
        if self._direct is not None:
            os.close(self._direct)


class DiskErrors:
    """Turns an OSError inside the block into a Failure that says what was being done."""

    def __init__(self, doing: str, root: Path) -> None:
        self._doing, self._root = doing, root

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise disk_failure(error, self._doing, self._root) from error


def disk_failure(error: OSError, doing: str, root: Path) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = shutil.disk_usage(root).free
        return Failure(Exit.NO_SPACE, f"no space left on the volume while {doing}: {free} bytes are free")
    return Failure(Exit.BAD_DISK, f"the volume fails while {doing}: {error}")


def write_durably(path: Path, document: Any) -> None:
    """Replace a JSON file atomically: the whole new one or the old one, also after the node goes down."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none. A torn file counts as none: then more is fetched, never less."""
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
