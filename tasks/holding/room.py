"""The bounds of what is held: requests of each model, and the bytes of all bodies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Full(Exception):
    """No more is held. The text says which bound was reached."""


class Room:
    """Counts what is held. `requests`: of one model at most; `body_bytes`: of all together."""

    def __init__(self, requests: int, body_bytes: int) -> None:
        self._requests, self._bytes = requests, body_bytes
        self.held: Counter[str] = Counter()
        self.bytes_held = 0

    @contextmanager
    def place(self, model: str, size: int) -> Iterator[None]:
        """Room for one request of `size` bytes as long as the block lasts. Raises Full."""
        if self.held[model] >= self._requests:
            raise Full(f"{self._requests} requests wait for it")
        if self.bytes_held + size > self._bytes:
            raise Full(f"requests that wait hold {self.bytes_held:,} of {self._bytes:,} bytes")
        self.held[model] += 1
        self.bytes_held += size
        try:
            yield
        finally:
            self.held[model] -= 1
            self.bytes_held -= size
