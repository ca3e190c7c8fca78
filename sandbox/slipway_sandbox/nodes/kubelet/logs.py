"""What a container wrote, line by line with times, bounded in memory; and a kubelet's ways to read it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

LIMIT_BYTES = 4 * 1024 * 1024
# containerd writes a longer line in pieces. A kubelet joins them as it reads (cri-client, logs.go: a partial line loses its
# end), but counts each piece as a line of `tailLines`.
LINE_LIMIT = 16 * 1024


@dataclass(frozen=True)
class LogQuery:
    """A pod log request; None means unset. `limit_bytes` cuts in the middle of a line, as the real one does."""

    tail_lines: int | None = None
    since_seconds: float | None = None
    since: datetime | None = None
    timestamps: bool = False
    limit_bytes: int | None = None
    follow: bool = False


class ContainerLog:
    """The output of one run of one container; the oldest lines go when `limit` bytes are exceeded."""

    def __init__(self, limit: int = LIMIT_BYTES, clock: Callable[[], int] = time.time_ns) -> None:
        self._limit = limit
        self._clock = clock
        self._lines: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._dropped = 0
        self._partial: dict[int, bytes] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self.ended = False

    def feed(self, stream: int, data: bytes) -> None:
        """Take output of file descriptor 1 or 2 as it comes, in any pieces."""
        pending = self._partial.pop(stream, b"") + data
        *lines, rest = pending.split(b"\n")
        now = self._clock()
        for line in lines:
            self._append(now, line + b"\n")
        while len(rest) > LINE_LIMIT:
            self._append(now, rest[:LINE_LIMIT])
            rest = rest[LINE_LIMIT:]
        if rest:
            self._partial[stream] = rest
        self._wake()

    def end(self) -> None:
        """The container ended: its last line counts even without a newline."""
        for stream in sorted(self._partial):
            self._append(self._clock(), self._partial[stream])
        self._partial.clear()
        self.ended = True
        self._wake()

    def tail_text(self, limit: int, lines: int | None = None) -> str:
        """The last `limit` bytes of the last `lines` lines, decoded."""
        text = b"".join(line for _, line in self._lines) + b"".join(self._partial.values())
        if lines is not None:
            text = b"".join(text.splitlines(keepends=True)[-lines:])
        return text[-limit:].decode(errors="replace")

    async def read(self, query: LogQuery) -> AsyncIterator[bytes]:
        """Chunks that answer `query`; with `follow`, until the container ends or the reader stops."""
        left = query.limit_bytes
        position = self._first(query)
        while True:
            position = max(position, self._dropped)  # a reader slower than the bound misses lines
            chunk = b"".join(
                _render(self._lines[index], query.timestamps and self._begins_line(index))
                for index in range(position - self._dropped, len(self._lines))
            )
            position = self._dropped + len(self._lines)
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:
                yield chunk
            if left == 0 or self.ended or not query.follow:
                return
            if position == self._dropped + len(self._lines):
                await self._change()

    def _first(self, query: LogQuery) -> int:
        """The absolute number of the first line to send."""
        first = 0
        if query.since_seconds is not None:
            start = self._clock() - int(query.since_seconds * 1e9)
            first = sum(1 for written, _ in self._lines if written < start)
        elif query.since is not None:
            start = int(query.since.timestamp() * 1e9)
            first = sum(1 for written, _ in self._lines if written < start)
        if query.tail_lines is not None:
            first = max(first, len(self._lines) - query.tail_lines)
        return self._dropped + first

    def _begins_line(self, index: int) -> bool:
        return index == 0 or self._lines[index - 1][1].endswith(b"\n")

    def _append(self, written: int, line: bytes) -> None:
        self._lines.append((written, line))
        self._size += len(line)
        while self._size > self._limit and len(self._lines) > 1:
            self._size -= len(self._lines.popleft()[1])
            self._dropped += 1

    async def _change(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()


def _render(entry: tuple[int, bytes], timestamps: bool) -> bytes:
    written, line = entry
    if not timestamps:
        return line
    seconds, nanoseconds = divmod(written, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{nanoseconds:09d}Z ".encode() + line
