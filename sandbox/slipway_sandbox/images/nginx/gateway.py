"""One request through nginx's phases: server, rewrite, location, rewrite, content, error page, log."""

from __future__ import annotations

import asyncio
import re
import time
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from slipway_sandbox.images.nginx import VERSION, logfiles, rewrite
from slipway_sandbox.images.nginx.config import Configuration, ErrorPage, Location, VirtualServer
from slipway_sandbox.images.nginx.proxying import (
    BadGateway,
    Proxying,
    buffers,
    pass_body,
    read_body,
    returned_headers,
)
from slipway_sandbox.images.nginx.variables import Exchange

REASONS: Final = {  # where nginx's words are not the standard's
    401: "Authorization Required", 405: "Not Allowed", 408: "Request Time-out", 413: "Request Entity Too Large",
    414: "Request-URI Too Large", 416: "Requested Range Not Satisfiable", 503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}  # fmt: skip
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# add_header without `always` is for these
HEADED: Final = frozenset({200, 201, 204, 206, 301, 302, 303, 304, 307, 308})
CLIENT_GONE: Final = 499
MAX_INTERNAL_REDIRECTS: Final = 10


class Gateway:
    """The handler of every connection; `configuration` may be replaced between requests."""

    def __init__(self, configuration: Configuration, proxying: Proxying, logs: logfiles.LogFiles) -> None:
        self.configuration = configuration
        self.quitting = False
        self.active = 0
        self.connections = self.accepted = 0  # kept by whoever listens
        self._requests = 0
        self._proxying, self._logs = proxying, logs

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._requests += 1
        self.active += 1
        configuration = self.configuration
        transport = request.transport
        port = transport.get_extra_info("sockname")[1] if transport else 0
        host = re.sub(r":\d+$", "", request.headers.get("Host", "")).lower()
        server = configuration.server_for(port, host)
        exchange = Exchange(request, server.names[0], time.monotonic(), configuration.maps, self._requests)
        exchange.uri = unquote(request.raw_path.partition("?")[0])
        location = server.outer
        try:
            location, response = await self._process(exchange, server, configuration)
        except asyncio.CancelledError:
            exchange.status = CLIENT_GONE
            raise
        finally:
            exchange.ended = time.monotonic()
            self.active -= 1
            for path, template in location.access_log:
                self._logs.write(path, template.render(exchange.value))
        return response

    async def _process(
        self, exchange: Exchange, server: VirtualServer, configuration: Configuration
    ) -> tuple[Location, web.StreamResponse]:
        outcome = rewrite.run(server.rewrite, exchange)
        location = server.outer
        if outcome is None:
            location = server.find(exchange.uri)
            if location.internal:
                return location, await self._refused(exchange, server, location, 404)
            outcome = rewrite.run(location.rewrite, exchange)
        if outcome is not None:
            return location, await self._returned(exchange, server, location, outcome)
        return location, await self._content(exchange, server, location, configuration)

    async def _content(
        self,
        exchange: Exchange,
        server: VirtualServer,
        location: Location,
        configuration: Configuration,
        depth: int = 0,
    ) -> web.StreamResponse:
        if location.stub_status:
            return await self._plain(exchange, location, 200, self._status_page(), "text/plain")
        if location.proxy is None:
            return await self._refused(exchange, server, location, 404, depth)
        body = await read_body(exchange.request, location.max_body)
        if body is None:
            size = exchange.request.content_length or 0
            self._error(exchange, f"client intended to send too large body: {size} bytes")
            return await self._refused(exchange, server, location, 413, depth)
        try:
            target = self._proxying.target(exchange, location, location.proxy, configuration.upstreams)
            async with self._proxying.answer(exchange, location.proxy, target, body) as upstream:
                pages = self._page_for(location, upstream.status)
                if location.proxy.intercept_errors and pages:
                    return await self._refused(exchange, server, location, upstream.status, depth)
                return await self._pass(exchange, location, upstream)
        except BadGateway as refused:
            self._error(exchange, str(refused), target=location.proxy.url.source)
            return await self._refused(exchange, server, location, refused.code, depth)

    async def _pass(
        self, exchange: Exchange, location: Location, upstream: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        assert location.proxy is not None
        out = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        for name, value in returned_headers(upstream, location.proxy):
            out.headers.add(name, value)
        if (length := upstream.headers.get("Content-Length")) is not None:
            out.content_length = int(length)
        self._add_headers(exchange, location, out)
        await out.prepare(exchange.request)
        exchange.status = upstream.status
        began = time.monotonic()
        try:
            exchange.body_bytes = await pass_body(upstream, out, buffered=buffers(upstream, location.proxy))
        except (aiohttp.ClientError, TimeoutError) as error:
            if exchange.request.transport is None or exchange.request.transport.is_closing():
                raise asyncio.CancelledError from error
            timed_out = isinstance(error, TimeoutError)
            text = (
                "upstream timed out (110: Connection timed out)"
                if timed_out
                else "upstream prematurely closed connection"
            )
            self._error(exchange, f"{text} while reading upstream", target=location.proxy.url.source)
            # the headers are out: all that is left is to break the connection, so that nobody takes this for an end
            exchange.request.transport.abort()
        exchange.upstream_seconds = (exchange.upstream_header_seconds or 0.0) + time.monotonic() - began
        return out

    async def _returned(
        self, exchange: Exchange, server: VirtualServer, location: Location, outcome: rewrite.Returned
    ) -> web.StreamResponse:
        code, text = outcome.code, outcome.text
        if code in REDIRECTS and text:
            response = self._page(location, code)
            response.headers["Location"] = (
                text if "://" in text else f"http://{exchange.value('http_host')}{text}"
            )
            return await self._send(exchange, location, response)
        if text is None and code >= 400:
            return await self._refused(exchange, server, location, code)
        return await self._plain(exchange, location, code, text or "", location.default_type)

    async def _refused(
        self, exchange: Exchange, server: VirtualServer, location: Location, code: int, depth: int = 0
    ) -> web.StreamResponse:
        """nginx's own page for an error, or the error_page the configuration has for it."""
        page = self._page_for(location, code)
        if page is None or depth > MAX_INTERNAL_REDIRECTS:
            return await self._send(exchange, location, self._page(location, code))
        if page.uri.startswith(("http://", "https://")):
            response = self._page(location, page.code or 302)
            response.headers["Location"] = page.uri
            return await self._send(exchange, location, response)
        other = server.named.get(page.uri) if page.uri.startswith("@") else server.find(page.uri)
        if other is None:
            self._error(exchange, f'could not find named location "{page.uri}"')
            return await self._send(exchange, location, self._page(location, 500))
        outcome = rewrite.run(other.rewrite, exchange)
        status = code if page.code is None else page.code
        if outcome is not None:
            text = outcome.text or ""
            return await self._plain(exchange, other, status or outcome.code, text, other.default_type)
        return await self._content(exchange, server, other, self.configuration, depth + 1)

    @staticmethod
    def _page_for(location: Location, code: int) -> ErrorPage | None:
        return next((page for page in location.error_pages if code in page.codes), None)

    @staticmethod
    def _page(location: Location, code: int) -> web.Response:
        phrase = REASONS.get(code) or (HTTPStatus(code).phrase if code in list(HTTPStatus) else "")
        name = f"nginx/{VERSION}" if location.tokens else "nginx"
        title = f"{code} {phrase}".strip()
        text = (
            f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
            f"<hr><center>{name}</center>\r\n</body>\r\n</html>\r\n"
        )
        return web.Response(status=code, body=text.encode(), content_type="text/html")

    async def _plain(
        self, exchange: Exchange, location: Location, code: int, text: str, kind: str
    ) -> web.Response:
        response = web.Response(status=code, body=text.encode(), headers={"Content-Type": kind})
        return await self._send(exchange, location, response)

    async def _send(self, exchange: Exchange, location: Location, response: web.Response) -> web.Response:
        exchange.body_bytes = len(response.body) if isinstance(response.body, bytes) else 0
        exchange.status = response.status
        self._add_headers(exchange, location, response)
        return response

    def _add_headers(self, exchange: Exchange, location: Location, response: web.StreamResponse) -> None:
        response.headers["Server"] = f"nginx/{VERSION}" if location.tokens else "nginx"
        for name, template, always in location.headers:
            value = template.render(exchange.value)
            if value and (always or response.status in HEADED):
                response.headers.add(name, value)
        if self.quitting:
            response.force_close()
        exchange.response_headers = response.headers

    def _status_page(self) -> str:
        count = self.connections
        return (
            f"Active connections: {count} \nserver accepts handled requests\n {self.accepted} {self.accepted} {self._requests} \n"
            f"Reading: 0 Writing: {self.active} Waiting: {max(count - self.active, 0)} \n"
        )

    def _error(self, exchange: Exchange, text: str, target: str = "") -> None:
        request = exchange.request
        parts = [
            f"*{exchange.number} {text}, client: {exchange.value('remote_addr')}",
            f"server: {exchange.server_name}",
            f'request: "{exchange.value("request")}"',
        ]
        if target:
            place = f"http://{exchange.upstream_addr}{request.raw_path}" if exchange.upstream_addr else target
            parts.append(f'upstream: "{place}"')
        parts.append(f'host: "{exchange.value("http_host")}"')
        self._logs.write(self.configuration.error_log, logfiles.record("error", ", ".join(parts)))
