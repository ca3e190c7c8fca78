"""proxy_pass: choose a peer, send the request on, and hand every piece of the answer over as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import yarl
from aiohttp import web

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.hosts import HostsFile
from slipway_sandbox.images.nginx.config import Location, Peer, Proxy, Upstream
from slipway_sandbox.images.nginx.variables import Exchange

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    }
)
# what nginx never passes from the request: it makes its own
NOT_FORWARDED: Final = HOP_BY_HOP | {"host", "content-length"}
NOT_RETURNED: Final = HOP_BY_HOP | {"server", "date", "content-length", "x-pad"}
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
BUFFER_BYTES: Final = 4096  # proxy_buffer_size: with buffering on, less than this waits for more
# vLLM closes an idle connection after 5 s; a pooled one must be given up before
POOL_SECONDS: Final = 4.0


class BadGateway(Exception):
    """No peer answered: `code` is 502 or 504, the text is the error log's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Target:
    """Where one request goes: peers to try in turn, the Host header's default, and the path with its query."""

    upstream: Upstream
    host: str
    uri: str


class Proxying:
    """The client side of nginx: one pool for all upstreams, without a limit."""

    def __init__(self, hosts: HostsFile, faults: Faults | None = None) -> None:
        self._hosts, self._faults = hosts, faults

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=POOL_SECONDS),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def close(self) -> None:
        await self._session.close()

    def target(
        self, exchange: Exchange, location: Location, proxy: Proxy, upstreams: dict[str, Upstream]
    ) -> Target:
        """Raises BadGateway when the name is only known now and nobody knows it."""
        if proxy.upstream is not None:
            uri = exchange.request.raw_path
            if proxy.uri is not None:
                uri = proxy.uri + uri.removeprefix(location.path)
            exchange.proxy_host, _, exchange.proxy_port = proxy.host.partition(":")
            return Target(proxy.upstream, proxy.host, uri)
        url = yarl.URL(proxy.url.render(exchange.value), encoded=True)
        if url.scheme != "http" or not url.host:
            raise BadGateway(500, f'invalid URL prefix in "{url}"')
        exchange.proxy_host, exchange.proxy_port = url.host, str(url.port)
        host = url.raw_authority
        uri = url.raw_path_qs if str(url).removeprefix(f"http://{host}") else exchange.request.raw_path
        if host in upstreams:
            return Target(upstreams[host], host, uri)
        if not proxy.resolver and not _is_address(url.host):
            raise BadGateway(502, f"no resolver defined to resolve {url.host}")
        return Target(Upstream(host, [Peer(url.host, url.port or 80, None)]), host, uri)

    @asynccontextmanager
    async def answer(
        self, exchange: Exchange, proxy: Proxy, target: Target, body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The first peer's answer, its body not read yet. Raises BadGateway."""
        headers = self._headers(exchange, proxy, target)
        peers = list(target.upstream.order(time.monotonic()))
        for left, peer in zip(range(len(peers) - 1, -1, -1), peers, strict=True):
            try:
                response = await self._ask(exchange, proxy, peer, target.uri, headers, body)
            except BadGateway as refused:
                self._note_failure(peer)
                if not left or not self._may_retry(exchange, proxy, refused):
                    raise
                continue
            peer.fails = 0
            try:
                yield response
            finally:
                response.close() if not response.content.at_eof() else response.release()
            return

    async def _ask(
        self,
        exchange: Exchange,
        proxy: Proxy,
        peer: Peer,
        uri: str,
        headers: list[tuple[str, str]],
        body: bytes,
    ) -> aiohttp.ClientResponse:
        request = exchange.request
        try:
            address = peer.address or self._hosts.lookup(peer.host, search=False)
        except OSError as error:
            raise BadGateway(502, f"{peer.host} could not be resolved (3: Host not found)") from error
        exchange.upstream_addr = f"{address}:{peer.port}"
        url = yarl.URL(f"http://{address}:{peer.port}{uri}", encoded=True)
        began = time.monotonic()
        if self._faults and self._faults.hit("path-cut", peer.host):
            await asyncio.sleep(proxy.connect_timeout)
            exchange.upstream_status = "504"
            raise BadGateway(
                504, "upstream timed out (110: Connection timed out) while connecting to upstream"
            )
        try:
            response = await self._session.request(
                request.method,
                url,
                headers=headers,
                data=body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=proxy.connect_timeout, sock_read=proxy.read_timeout
                ),
            )
        except aiohttp.ServerTimeoutError as error:
            doing = (
                "connecting to"
                if isinstance(error, aiohttp.ConnectionTimeoutError)
                else "reading response header from"
            )
            exchange.upstream_status = "504"
            raise BadGateway(
                504, f"upstream timed out (110: Connection timed out) while {doing} upstream"
            ) from error
        except aiohttp.ClientConnectorError as error:
            exchange.upstream_status = "502"
            reason = f"{error.os_error.errno}: {error.os_error.strerror}"
            if error.os_error.errno == 111:
                reason = "111: Connection refused"
            raise BadGateway(502, f"connect() failed ({reason}) while connecting to upstream") from error
        except (aiohttp.ClientError, OSError) as error:
            exchange.upstream_status = "502"
            text = "upstream prematurely closed connection while reading response header from upstream"
            raise BadGateway(502, text) from error
        exchange.upstream_header_seconds = time.monotonic() - began
        exchange.upstream_status = str(response.status)
        exchange.upstream_headers = response.headers
        return response

    @staticmethod
    def _note_failure(peer: Peer) -> None:
        peer.fails += 1
        if peer.max_fails and peer.fails >= peer.max_fails:
            peer.fails, peer.out_until = 0, time.monotonic() + peer.fail_timeout

    @staticmethod
    def _may_retry(exchange: Exchange, proxy: Proxy, refused: BadGateway) -> bool:
        kind = "timeout" if refused.code == 504 else "error"
        sent = "connecting to" not in str(refused) and "resolved" not in str(refused)
        if sent and exchange.request.method not in IDEMPOTENT and "non_idempotent" not in proxy.next_upstream:
            return False
        return kind in proxy.next_upstream

    @staticmethod
    def _headers(exchange: Exchange, proxy: Proxy, target: Target) -> list[tuple[str, str]]:
        """nginx's own (Host, Connection), what the configuration sets, and the rest as the client sent it."""
        own = {"host": ("Host", target.host), "connection": ("Connection", "close")}
        for name, template in proxy.headers:
            own[name.lower()] = (name, template.render(exchange.value))
        passed = (
            (name, value)
            for name, value in exchange.request.headers.items()
            if name.lower() not in NOT_FORWARDED and name.lower() not in own
        )
        return [(name, value) for name, value in own.values() if value] + list(passed)


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit()


def returned_headers(response: aiohttp.ClientResponse, proxy: Proxy) -> Iterator[tuple[str, str]]:
    for name, value in response.headers.items():
        low = name.lower()
        if low not in NOT_RETURNED and low not in proxy.hidden and not low.startswith("x-accel-"):
            yield name, value


def buffers(response: aiohttp.ClientResponse, proxy: Proxy) -> bool:
    """Whether small pieces wait for more: the upstream may switch it with X-Accel-Buffering."""
    asked = response.headers.get("X-Accel-Buffering", "").lower()
    return asked == "yes" or (proxy.buffering and asked != "no")


async def pass_body(response: aiohttp.ClientResponse, out: web.StreamResponse, *, buffered: bool) -> int:
    """Hand the body over; its bytes. Raises aiohttp.ClientError or TimeoutError when the upstream breaks off."""
    total = 0
    held = b""
    async for chunk in response.content.iter_any():
        total += len(chunk)
        held = held + chunk if held else chunk
        if not buffered or len(held) >= BUFFER_BYTES:
            await out.write(held)
            held = b""
    if held:
        await out.write(held)
    return total


async def read_body(request: web.BaseRequest, limit: int) -> bytes | None:
    """The request's body, or None when it is larger than client_max_body_size (0: no limit)."""
    if limit and (request.content_length or 0) > limit:
        return None
    if not request.can_read_body:
        return b""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if limit and len(body) > limit:
            return None
    return bytes(body)
