"""A fixed number of part-sized buffers, which bounds the memory of a transfer whatever the model's size."""

from __future__ import annotations

import queue
import threading

from tasks.staging.stop import Stop


class Buffer:
    """One buffer, read by the upload and by the hash; the last of them to release it returns it to the pool."""

    def __init__(self, pool: BufferPool, size: int) -> None:
        self.data = bytearray(size)
        self._pool = pool
        self._holders = 0
        self._lock = threading.Lock()

    def hold(self) -> None:
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            free = self._holders == 0
        if free:
            self._pool.give_back(self)


class BufferPool:
    """`count` buffers of `size` bytes."""

    def __init__(self, count: int, size: int) -> None:
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(Buffer(self, size))

    def take(self, stop: Stop) -> Buffer:
        """Wait for a buffer and hold it once. Raises Stopped when the transfer ends meanwhile."""
        while True:
            stop.check()
            try:
                buffer = self._free.get(timeout=0.5)
            except queue.Empty:
                continue
            buffer.hold()
            return buffer

    def give_back(self, buffer: Buffer) -> None:
        self._free.put(buffer)
