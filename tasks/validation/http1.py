"""An HTTP/1.1 answer read as its bytes arrive (RFC 9112). Pure: bytes in, pieces of the body out.

A load generator must send within microseconds of when a request is due; a general client spends a few hundred of them on each
request, which bunches arrivals that were asked for apart (docs/measuring.md).
"""

from __future__ import annotations

LONGEST_HEAD = 64 * 1024
LONGEST_SIZE_LINE = 1024


class Answer:
    """One answer on a connection. `feed` raises ValueError for bytes that are no HTTP."""

    __slots__ = ("_left", "_rest", "_state", "done", "keep_alive", "status")

    def __init__(self) -> None:
        self.status = 0  # until the head is whole
        self.done = False
        self.keep_alive = True
        self._state = "head"
        self._rest = b""
        self._left = 0  # bytes of the body, or of the chunk with its line end, that are still to come

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in `data`; what is not whole yet is kept."""
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
        """The connection was closed: whether that ended the answer rightly."""
        if self._state == "until close":
            self.done = True
        return self.done

    def _read_head(self, data: bytes) -> int:
        """Where the body begins; the state it begins with."""
        at = 0
        while True:
            end = data.find(b"\r\n\r\n", at)
            if end < 0:
                if len(data) - at > LONGEST_HEAD:
                    raise ValueError("a head without an end")
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
                raise ValueError("a body of less than nothing")
            self.done = self._left == 0
        else:
            self._state, self.keep_alive = "until close", False
        return at

    def _chunks(self, data: bytes, at: int) -> list[bytes]:
        """`_left` counts a chunk's bytes and the line end after it; -1: the last chunk was read, trailers follow."""
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
                raise ValueError("a chunk of less than nothing")
            self._left = size + 2 if size else -1
        return pieces
