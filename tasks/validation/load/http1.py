"""An HTTP/1.1 answer read as its bytes arrive, by httptools (llhttp's parser, which uvicorn reads requests with).

A load generator must send within microseconds of when a request is due; a general client spends a few hundred of them on
each request, which bunches arrivals that were asked for apart (docs/measuring.md). So the sockets are ours (connections.py),
and only the reading is shared.
"""

from __future__ import annotations

import httptools

LONGEST_HEAD = 64 * 1024


class Answer:
    """One answer on a connection. `feed` raises ValueError for bytes that are no HTTP."""

    __slots__ = ("_head", "_parser", "_pieces", "_sized", "done", "keep_alive", "status")

    def __init__(self) -> None:
        self.status = 0  # until the head is whole
        self.done = False
        self.keep_alive = True
        self._sized = False  # whether it says itself where it ends
        self._head = 0  # bytes so far of a head that is not whole
        self._pieces: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in `data`."""
        self._pieces = []
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.done:  # what a server writes after its answer is its own affair
                raise ValueError(f"not an HTTP/1.1 answer: {error}") from error
            self.keep_alive = False
        if not self.status:
            self._head += len(data)
            if self._head > LONGEST_HEAD:
                raise ValueError("a head without an end")
        return self._pieces

    def end(self) -> bool:
        """The connection was closed: whether that ended the answer rightly."""
        self.done = self.done or (self.status > 0 and not self._sized)
        return self.done

    # what httptools tells

    def on_header(self, name: bytes, value: bytes) -> None:
        self._sized = self._sized or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # 1xx come before the answer
            self.status = status
            self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self.done = self.status > 0
