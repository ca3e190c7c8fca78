"""Parse an HTTP/1.1 answer (RFC 9112) with the standard library alone, for images without httptools.

Three times the CPU of llhttp.py for an answer; docs/measuring.md has what that does to the figures.
"""

from __future__ import annotations

LONGEST_HEAD = 64 * 1024
LONGEST_SIZE_LINE = 1024


class Answer:
    """One answer on a connection. `feed` raises ValueError for bytes that are not HTTP."""

    __slots__ = ("_left", "_rest", "_state", "done", "keep_alive", "status")

    def __init__(self) -> None:
        self.status = 0  # until the head is whole
        self.done = False
        self.keep_alive = True
        self._state = "head"
        self._rest = b""
        self._left = 0  # bytes of the body, or of the chunk with its line end, that are still to come

    def feed(self, data: bytes) -> list[bytes]:
        """Parse `data` and return the pieces of the body in it; an unfinished line is kept for the next call."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0
        if self._state == "head":
            at = self._read_head(data)
        if self._state == "chunked" and not self.done:
            return self._chunks(data, at)
        if self._state == "head" or self.done or at >= len(data):
            return []
        piece = data[at:] if at else data
        if self._state == "length":
            if len(piece) >= self._left:
                piece, self.done = piece[: self._left], True
            self._left -= len(piece)
        return [piece]

    def end(self) -> bool:
        """Note that the connection was closed. Returns whether the answer is whole."""
        if self._state == "until close":
            self.done = True
        return self.done

    def _read_head(self, data: bytes) -> int:
        """Parse status and headers, set the state for the body, and return where the body begins."""
        at = 0
        while True:
            end = data.find(b"\r\n\r\n", at)
            if end < 0:
                if len(data) - at > LONGEST_HEAD:
                    raise ValueError("a head that does not end")
                self._rest = data[at:]
                return len(data)
            lines = data[at:end].split(b"\r\n")
            at = end + 4
            version, _, rest = lines[0].partition(b" ")
            if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
                raise ValueError("not an HTTP/1.1 answer")
            status = int(rest[:3])
            if status >= 200:
                break  # 1xx come before the answer
        headers = {
            name.strip().lower(): value.strip().lower()
            for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        self.status = status
        connection = headers.get(b"connection", b"")
        self.keep_alive = (
            b"keep-alive" in connection if version == b"HTTP/1.0" else b"close" not in connection
        )
        if b"chunked" in headers.get(b"transfer-encoding", b""):
            self._state = "chunked"
        elif status in (204, 304):
            self._state, self.done = "length", True
        elif b"content-length" in headers:
            self._state, self._left = "length", int(headers[b"content-length"])
            if self._left < 0:
                raise ValueError("a negative content-length")
            self.done = self._left == 0
        else:
            self._state, self.keep_alive = "until close", False
        return at

    def _chunks(self, data: bytes, at: int) -> list[bytes]:
        """Parse chunks. `_left`: bytes of the chunk and the line end after it; -1: only trailers are left."""
        pieces: list[bytes] = []
        end = len(data)
        while at < end:
            if self._left > 0:
                stop = at + self._left
                body = min(stop - 2, end)
                if body > at:
                    pieces.append(data[at:body])
                if stop > end:
                    self._left = stop - end
                    return pieces
                at, self._left = stop, 0
                continue
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                if end - at > LONGEST_SIZE_LINE:
                    raise ValueError("a chunk without a size")
                self._rest = data[at:]
                return pieces
            line, at = data[at:line_end], line_end + 2
            if self._left == -1:
                if not line:
                    self.done = True
                    return pieces
                continue
            size = int(line.partition(b";")[0], 16)
            if size < 0:
                raise ValueError("a negative chunk size")
            self._left = size + 2 if size else -1
        return pieces
