"""What the disk below a folder takes: no warming can be faster than this."""

from __future__ import annotations

import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.staging.servers import MIB, PART, THREADS


def disk_ceiling(folder: Path, size: int) -> float:
    """MiB/s of `size` bytes written from memory into a preallocated file, past the page cache, with the sync at the end."""
    path = folder / "ceiling"
    plain = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, PART)
    buffer[:] = os.urandom(MIB) * (PART // MIB)
    try:
        os.posix_fallocate(plain, 0, size)
        began = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            written = sum(
                pool.map(lambda offset: os.pwrite(direct, buffer, offset), range(0, size - PART + 1, PART))
            )
        os.fsync(plain)
        return written / MIB / (time.monotonic() - began)
    finally:
        os.close(plain)
        os.close(direct)
        path.unlink()
        buffer.close()
