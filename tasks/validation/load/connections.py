"""A pool of connections: opened before they are needed, without a queue, timed where the socket is read.

A send is one write. Bytes that arrive are timed at once and parsed afterwards, once for all sockets that were readable
together: parsing one answer does not make the next one look late.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, cast

from tasks.validation.load.http1 import Answer
from tasks.validation.load.wire import Reading

CONNECT_SECONDS = 10.0
SPARE = 8  # idle connections kept ready
IDLE_SECONDS = 3.0  # uvicorn closes one after 5 s without a request: none may be sent on it then
NEVER_USED_SECONDS = 30.0
TIDY_SECONDS = 0.1

Done = Callable[[Reading], None]


class Connection(asyncio.Protocol):
    """One socket and the request on it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.transport: asyncio.Transport | None = None
        self.reading: Reading | None = None
        self.done: Done | None = None
        self.answer = Answer()
        self.last = time.perf_counter()  # when bytes last went or came
        self.fresh_until = self.last + NEVER_USED_SECONDS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._pool.arrived(time.perf_counter(), self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.arrived(time.perf_counter(), self, None)

    def send(self, request: bytes, reading: Reading, done: Done) -> None:
        assert self.transport is not None and self.reading is None  # noqa: S101
        self.reading, self.done, self.answer = reading, done, Answer()
        self.last = time.perf_counter()
        if self.transport.is_closing():
            self.finish(self.last, "connection lost")
        else:
            self.transport.write(request)

    def read(self, at: float, data: bytes | None) -> None:
        """Parse bytes that arrived at `at`; None means that the connection was closed."""
        reading = self.reading
        if reading is None:
            return self.close()  # only its end can come on an idle one
        self.last = at
        if data is None:
            return self.finish(at, "" if self.answer.end() else "connection lost")
        try:
            for piece in self.answer.feed(data):
                reading.status = self.answer.status
                reading.feed(at, piece)
        except ValueError:
            return self.finish(at, "unreadable answer")
        if self.answer.done:
            self.finish(at, "")
        return None

    def finish(self, at: float, failure: str) -> None:
        """End the request; keep the connection for the next one if the server allows it."""
        reading, done = self.reading, self.done
        assert reading is not None and done is not None  # noqa: S101
        self.reading = self.done = None
        reading.status = self.answer.status
        reading.failure, reading.ended = failure, at
        if failure or not self.answer.keep_alive or self.transport is None or self.transport.is_closing():
            self.close()
        else:
            self.fresh_until = at + IDLE_SECONDS
            self._pool.free(self)
        done(reading)

    def close(self) -> None:
        self._pool.forget(self)
        if self.transport is not None:
            self.transport.abort()


class Tls(NamedTuple):
    """How a server's certificate is verified, and the name it must be for."""

    context: ssl.SSLContext
    name: str


class Pool:
    """As many connections as requests in flight, and some spare. A request ends after `stall` seconds without bytes."""

    def __init__(self, host: str, port: int, *, tls: Tls | None, stall: float) -> None:
        self._host, self._port, self._tls, self._stall = host, port, tls, stall
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []  # the last used is used next
        self._all: set[Connection] = set()
        self._news: list[tuple[float, Connection, bytes | None]] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: dict[Reading, Done] = {}  # requests whose connection is being opened
        self._spares_coming = 0
        self._tidying = asyncio.create_task(self._tidy())

    async def open(self, count: int) -> None:
        """Open `count` connections. Raises OSError where the server does not listen."""
        for _ in range(count):
            self._idle.append(await self._connect())

    def send(self, request: bytes, reading: Reading, done: Done) -> None:
        """Send now, on an idle connection, else on a new one. `done` is called when the request has ended."""
        reading.sent = time.perf_counter()
        connection = self._ready(reading.sent)
        if connection is not None:
            connection.send(request, reading, done)
        else:
            self._waiting[reading] = done
            self._start(self._send_on_new(request, reading))
        if len(self._idle) + self._spares_coming < SPARE:
            self._spares_coming += 1
            self._start(self._add_spare())

    def give_up(self, failure: str) -> None:
        """End every request that still runs."""
        now = time.perf_counter()
        for reading, done in [*self._waiting.items()]:
            self._fail_waiting(reading, done, now, failure)
        for connection in list(self._all):
            if connection.reading is not None:
                connection.finish(now, failure)

    async def close(self) -> None:
        self._tidying.cancel()
        for connection in list(self._all):
            connection.close()
        for task in self._opening:
            task.cancel()
        ended = await asyncio.gather(self._tidying, *self._opening, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):  # cancellation is not an Exception
                raise error

    # called by connections

    def arrived(self, at: float, connection: Connection, data: bytes | None) -> None:
        self._news.append((at, connection, data))
        if len(self._news) == 1:
            self._loop.call_soon(self._read)

    def free(self, connection: Connection) -> None:
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _read(self) -> None:
        news, self._news = self._news, []
        for at, connection, data in news:
            connection.read(at, data)

    def _ready(self, now: float) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if (
                now < connection.fresh_until
                and connection.transport
                and not connection.transport.is_closing()
            ):
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await self._loop.create_connection(
                lambda: Connection(self),
                self._host,
                self._port,
                ssl=self._tls and self._tls.context,
                server_hostname=self._tls and self._tls.name,
            )
        self._all.add(connection)
        return connection

    async def _send_on_new(self, request: bytes, reading: Reading) -> None:
        try:
            connection = await self._connect()
        except OSError as error:
            if done := self._waiting.get(reading):
                self._fail_waiting(reading, done, time.perf_counter(), why_not_connected(error))
            return
        done = self._waiting.pop(reading, None)
        if done is None:
            self._idle.append(connection)  # the request was given up meanwhile
        else:
            connection.send(request, reading, done)

    def _fail_waiting(self, reading: Reading, done: Done, at: float, failure: str) -> None:
        del self._waiting[reading]
        reading.failure, reading.ended = failure, at
        done(reading)

    async def _add_spare(self) -> None:
        try:
            self._idle.insert(0, await self._connect())
        except OSError:
            return  # no request waits for it: one that needs a connection opens its own, and reports the failure
        finally:
            self._spares_coming -= 1

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _tidy(self) -> None:
        """End requests whose server has sent nothing for `stall` seconds."""
        while True:
            await asyncio.sleep(min(TIDY_SECONDS, self._stall / 4))
            now = time.perf_counter()
            for connection in list(self._all):
                if connection.reading is not None and now - connection.last > self._stall:
                    connection.finish(now, "stalled" if connection.answer.status else "no answer in time")


def why_not_connected(error: OSError) -> str:
    """The kind of failure."""
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case ssl.SSLCertVerificationError():
            return "no connection: certificate refused"
        case ssl.SSLError():
            return "no connection: TLS failed"
        case TimeoutError():
            return "no connection in time"
        case OSError(errno=number) if number is not None:
            return f"no connection: {errno.errorcode.get(number, number)}"
    return "no connection"
