"""Progress of a transfer: bytes arrived of all files, and the rate of each file under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from tasks.records.progress import Pace, Reporter

REPORT_SECONDS = 0.5  # bytes come a thousand times a second, from every worker


class TransferProgress:
    """`sizes`: bytes of every file that is to arrive, by path. Used from any thread."""

    def __init__(
        self, sizes: Mapping[str, int], reporter: Reporter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sizes, self._reporter, self._clock = sizes, reporter, clock
        self._arrived = dict.fromkeys(sizes, 0)
        self._paces: dict[str, Pace] = {}  # of files under way
        self._total, self._done = sum(sizes.values()), 0
        self._reported = float("-inf")
        self._lock = threading.Lock()

    def begin(self, path: str) -> None:
        """Measure the rate of a file from now."""
        with self._lock:
            if path not in self._paces and self._arrived[path] < self._sizes[path]:
                pace = self._paces[path] = Pace(self._clock)
                pace.describe(0, self._sizes[path])

    def add(self, path: str, count: int) -> None:
        with self._lock:
            self._arrived[path] += count
            self._done += count
            if self._arrived[path] >= self._sizes[path]:
                self._paces.pop(path, None)
            now = self._clock()
            if now - self._reported < REPORT_SECONDS and self._done < self._total:
                return
            self._reported = now
            done, detail = self._done, self._detail()
        self._reporter.progress(done, self._total, detail=detail)

    def _detail(self) -> str:
        """ "| 3 of 5 files | model-1.safetensors: 12.0 MiB of 24.0 MiB (50 %), 8.0 MiB/s, 1.5 s left"."""
        whole = sum(1 for path, size in self._sizes.items() if self._arrived[path] >= size)
        under_way = [
            f"{path}: {pace.describe(self._arrived[path], self._sizes[path])}"
            for path, pace in self._paces.items()
        ]
        return " | ".join(["", f"{whole} of {len(self._sizes)} files", *under_way]).strip()
