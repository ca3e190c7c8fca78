"""TCP forwarding at the level of transports: bytes go from one socket's buffer to the other's, nothing in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import cast

Backend = tuple[str, int]
CONNECT_SECONDS = 5.0
BACKLOG = 1024

log = logging.getLogger(__name__)


class _Half(asyncio.Protocol):
    """One side of a connection; what it receives is written to its peer, which slows it down when it cannot keep up."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: _Half | None = None
        self.ended = False  # it has sent its last byte

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        """Half-closed: the other direction stays open until it has ended too."""
        self.ended = True
        if self.peer is None:
            return True  # the backend is still being connected: it hears of this then
        if self.peer.transport is None or self.peer.ended:
            return False  # this closes, and with it the peer
        if not self.peer.transport.can_write_eof():
            self.peer.transport.close()  # of TLS: what is buffered goes first
            return False
        with contextlib.suppress(OSError):
            self.peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer and self.peer.transport:
            # A reset on one side is a reset on the other; a clean end flushes what is still buffered.
            (self.peer.transport.abort if exc else self.peer.transport.close)()


class _Front(_Half):
    """The accepted side: what arrives before a backend is connected waits here.

    Reading is paused meanwhile, but uvloop starts it after connection_made whatever that asked for, so one
    read's worth can come; it is kept, never dropped.
    """

    def __init__(self, pick: Callable[[], Backend | None], connecting: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._pick, self._connecting = pick, connecting
        self._early = bytearray()

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self._early += data
        else:
            super().data_received(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        task = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        assert self.transport is not None
        self.transport.pause_reading()
        backend = self._pick()
        if backend is None:
            self.transport.abort()
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, half = await asyncio.get_running_loop().create_connection(_Half, *backend)
        except (
            OSError
        ):  # refused or timed out: the client sees a reset, and nothing is lost but the connection
            self.transport.abort()
            return
        half.peer, self.peer = self, half
        if self.transport.is_closing():
            assert half.transport is not None
            half.transport.abort()
            return
        assert half.transport is not None
        if self._early:
            half.transport.write(bytes(self._early))
            self._early.clear()
        if self.ended:  # it has said all it wanted already
            half.transport.write_eof()
        self.transport.resume_reading()


class _TlsFront(_Front):
    """The accepted side where it speaks TLS, which has no half-closed connections."""

    def eof_received(self) -> bool:
        self.ended = True
        return False


class Listener:
    """One address and port that forwards while it has backends and refuses connections while it has none.

    While it is cut, new connections neither open nor are refused, as where a network policy drops the packets.
    It accepts by itself: asyncio.Server (3.11) loses a connection accepted in the moment it is closed, and its client hangs.
    """

    def __init__(self, address: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.address, self.port, self.tls = address, port, tls
        self._backends: tuple[Backend, ...] = ()
        self._turn = 0
        self._socket: socket.socket | None = None
        self._full: socket.socket | None = None  # what fills the queue of a cut listener
        self._tasks: set[asyncio.Task[None]] = set()

    def set_backends(self, backends: tuple[Backend, ...], *, cut: bool = False) -> None:
        """Serve new connections from these, in turn; open ones stay where they are. Raises OSError when it cannot listen."""
        self._backends = backends
        if not backends or cut != (self._full is not None):
            self.close()
        if backends and self._socket is None:
            self._cut() if cut else self._listen()

    def _listen(self) -> None:
        self._socket = socket.create_server((self.address, self.port), backlog=BACKLOG)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _cut(self) -> None:
        """Listen with a full queue: Linux drops every further SYN, and whoever sent it tries until it times out."""
        self._socket = socket.create_server((self.address, self.port), backlog=0)
        self._full = socket.create_connection((self.address, self.port), CONNECT_SECONDS)

    def close(self) -> None:
        """Stop listening; existing connections live on."""
        if self._socket:
            asyncio.get_running_loop().remove_reader(self._socket)
        for each in (self._full, self._socket):
            if each:
                each.close()
        self._socket = self._full = None

    def _accept(self) -> None:
        for _ in range(BACKLOG):
            if self._socket is None:
                return
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors: the next readiness tries again
                log.warning("%s:%s cannot accept: %s", self.address, self.port, error)
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._keep(self._serve(accepted))

    async def _serve(self, accepted: socket.socket) -> None:
        front = (_TlsFront if self.tls else _Front)(self._next, self._tasks)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: front, accepted, ssl=self.tls)
        except OSError:  # the client has gone already, or does not speak TLS
            accepted.close()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _next(self) -> Backend | None:
        if not self._backends:
            return None
        self._turn += 1
        return self._backends[self._turn % len(self._backends)]
