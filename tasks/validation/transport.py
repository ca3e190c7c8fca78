"""httpx's transport for load: aiohttp's connections under httpx's requests, with the time bytes arrived.

`httpx.AsyncClient` builds a URL, headers, cookies and redirects anew for every request, which costs more than the
request; a transport takes a finished `httpx.Request`. Time is taken where the socket is read, before anything waits
for its turn: under load a coroutine resumes milliseconds after its bytes came.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, cast

import aiohttp
import httpx
import yarl
from aiohttp.client_proto import ResponseHandler


class TimedProtocol(ResponseHandler):
    """A connection that knows when its last bytes came, on `time.perf_counter`."""

    arrived = 0.0

    def data_received(self, data: bytes) -> None:
        self.arrived = time.perf_counter()
        super().data_received(data)


class TimedStream(httpx.AsyncByteStream):
    """A body as the socket gave it; `arrived` is when the chunk just yielded came."""

    def __init__(self, response: aiohttp.ClientResponse, protocol: TimedProtocol | None) -> None:
        self._response, self._protocol = response, protocol

    @property
    def arrived(self) -> float:
        # a body that was whole with its head has given its connection back
        return self._protocol.arrived if self._protocol else time.perf_counter()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except aiohttp.ServerTimeoutError as error:
            raise httpx.ReadTimeout(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(str(error)) from error

    async def aclose(self) -> None:
        self._response.close() if not self._response.content.at_eof() else self._response.release()


class LoadTransport(httpx.AsyncBaseTransport):
    """One unbounded pool: no queue in front of the server. `stall` seconds without bytes end a request."""

    def __init__(self, *, stall: float, connect: float) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        # aiohttp has no setting for the class of its connections
        connector._factory = cast("partial[ResponseHandler]", partial(TimedProtocol, loop=connector._loop))
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=stall),
        )
        self._urls: dict[httpx.URL, yarl.URL] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx.ConnectError, ReadTimeout, ReadError."""
        url = self._urls.get(request.url)
        if url is None:
            url = self._urls[request.url] = yarl.URL(str(request.url), encoded=True)
        headers: Any = request.headers.raw
        try:
            response = await self._session.request(
                request.method,
                url,
                headers=[(name.decode("ascii"), value.decode("ascii")) for name, value in headers],
                data=request.content or None,
                allow_redirects=False,
            )
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout(str(error), request=request) from error
        except aiohttp.ServerTimeoutError as error:
            raise httpx.ReadTimeout(str(error), request=request) from error
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(str(error), request=request) from error
        protocol = response.connection.protocol if response.connection else None
        stream = TimedStream(response, protocol if isinstance(protocol, TimedProtocol) else None)
        return httpx.Response(response.status, stream=stream, request=request)

    async def aclose(self) -> None:
        await self._session.close()
