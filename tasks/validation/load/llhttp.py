"""Parse an HTTP/1.1 answer as its bytes arrive, by httptools (llhttp, which uvicorn reads requests with).

A load generator must send within microseconds of when a request is due; a general client spends a few hundred of them on
each request, which bunches arrivals (docs/measuring.md). So the sockets are ours (connections.py), and only the parser is not.
"""

from __future__ import annotations

import httptools

LONGEST_HEAD = 64 * 1024


class Answer:
    """One answer on a connection. `feed` raises ValueError for bytes that are not HTTP."""

    __slots__ = ("_head", "_parser", "_pieces", "_sized", "done", "keep_alive", "status")

    def __init__(self) -> None:
        self.status = 0  # until the head is whole
        self.done = False
        self.keep_alive = True
        self._sized = False  # whether its header says where it ends
        self._head = 0  # bytes of the head so far
        self._pieces: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> list[bytes]:
        """Parse `data` and return the pieces of the body in it."""
        self._pieces = []
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.done:  # bytes after the answer do not spoil it
                raise ValueError(f"not an HTTP/1.1 answer: {error}") from error
            self.keep_alive = False
        if not self.status:
            self._head += len(data)
            if self._head > LONGEST_HEAD:
                raise ValueError("a head that does not end")
        return self._pieces

    def end(self) -> bool:
        """Note that the connection was closed. Returns whether the answer is whole."""
        self.done = self.done or (self.status > 0 and not self._sized)
        return self.done

    # called by httptools

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
