"""The HTTP/1.1 side of the AWS endpoint: keep-alive, and the raw body stream for handlers that must not buffer it.

Werkzeug's own request handler closes every connection and hands out an unbounded socket as the body. S3 clients
send gigabytes over kept connections and wait for `100 Continue`, so both are done properly here.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import ThreadedWSGIServer

DRAIN_LIMIT = 64 << 20  # bytes of an unread body that are read, so that the client gets to see the answer

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class Truncated(ConnectionError):
    """The client went away in the middle of its body, or its framing is broken."""


class Body(io.RawIOBase):
    """A request body: bounded by its Content-Length, `100 Continue` sent when it is first read."""

    def __init__(self, stream: Any, length: int, ready: Callable[[], None] | None) -> None:
        self._stream, self._left, self._ready = stream, length, ready

    def readable(self) -> bool:
        return True

    @property
    def left(self) -> int:
        return self._left

    @property
    def withheld(self) -> bool:
        """The client still waits for Continue: it will not send its body after a refusal."""
        return self._ready is not None

    def readinto(self, buffer: Any) -> int:
        if self._ready:
            self._ready()
            self._ready = None
        view = memoryview(buffer).cast("B")
        want = min(len(view), self._left)
        if want == 0:
            return 0
        got: int = self._stream.readinto(view[:want])
        if not got:
            raise Truncated(f"{self._left} bytes of the body never came")
        self._left -= got
        return got


class Handler(MotoRequestHandler):  # type: ignore[misc]  # moto has no types
    """One connection: requests one after another, each handed to the WSGI application."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a header and a body in two sends must not wait for an ACK
    timeout = 120  # seconds an idle kept connection may hold its thread

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet: a staging run makes thousands of requests."""

    def handle_expect_100(self) -> bool:
        """Not yet: the body's first reader says Continue, so a refusal comes before the body."""
        return True

    def connection_dropped(self, error: BaseException, environ: Environ | None = None) -> None:
        self.close_connection = True

    def run_wsgi(self) -> None:
        self.environ = environ = self.make_environ()
        if str(environ["REQUEST_URI"]).startswith(
            "http://"
        ):  # asked as a proxy: slipway_sandbox.terraform.install
            environ["REQUEST_URI"] = "/" + "".join(environ["REQUEST_URI"].split("/", 3)[3:])
        expected = self.headers.get("Expect", "").strip().lower() == "100-continue"

        def proceed() -> None:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        ready = proceed if expected else None
        if environ.get("wsgi.input_terminated"):  # a body in chunked transfer is not read
            self.close_connection = True
        body = Body(self.rfile, int(environ.get("CONTENT_LENGTH") or 0), ready)
        environ["wsgi.input"] = io.BufferedReader(body, 1 << 16)
        environ["slipway.body"] = body  # the unbuffered one, for S3
        try:
            self._answer(environ, body)
        except (TimeoutError, ConnectionError) as error:
            self.connection_dropped(error, environ)

    def _answer(self, environ: Environ, body: Body) -> None:
        status, sent_headers = "", list[tuple[str, str]]()

        def start_response(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            nonlocal status, sent_headers
            status, sent_headers = line, headers

        try:
            blocks = self.server.app(environ, start_response)
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001  the boundary of a server: a client gets a 500, the log the traceback
            traceback.print_exc(file=sys.stderr)
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            blocks = [b""]
        try:
            self._send(environ, status, sent_headers, blocks, body)
        finally:
            close = getattr(blocks, "close", None)
            if close:
                close()

    def _send(
        self,
        environ: Environ,
        status: str,
        headers: list[tuple[str, str]],
        blocks: Iterable[bytes],
        body: Body,
    ) -> None:
        code, _, reason = status.partition(" ")
        names = {name.lower() for name, _ in headers}
        bodiless = environ["REQUEST_METHOD"] == "HEAD" or code in ("204", "304")
        if not bodiless and "content-length" not in names:
            blocks = [b"".join(blocks)]
            headers = [*headers, ("Content-Length", str(len(blocks[0])))]
        if body.left > DRAIN_LIMIT or body.withheld:
            self.close_connection = True
        self.send_response_only(int(code), reason)
        if "date" not in names:
            self.send_header("Date", self.date_time_string())
        for name, value in headers:
            if name.lower() != "connection":
                self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        for block in () if bodiless else blocks:
            self.wfile.write(block)
        if not body.withheld:
            _drain(body)


def _drain(body: Body) -> None:
    """Read what the application left of the body, within reason: closing on unread bytes would reset the connection."""
    scrap, taken = bytearray(1 << 16), 0
    while taken < DRAIN_LIMIT and (got := body.readinto(scrap)):
        taken += got


class Server(ThreadedWSGIServer):
    """A thread a connection; the listen queue holds a burst of upload workers."""

    request_queue_size = 512
    daemon_threads = True


def make_server(host: str, port: int, application: Application) -> Server:
    """A bound, listening server; `serve_forever` runs it. Raises OSError (or SystemExit) where the port is taken."""
    return Server(host, port, application, handler=Handler)
