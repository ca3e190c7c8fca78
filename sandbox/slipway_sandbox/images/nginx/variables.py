"""The variables of one request, and `map`, which makes new ones of them."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from slipway_sandbox.images.nginx import VERSION
from slipway_sandbox.images.nginx.grammar import Directive, Emergency
from slipway_sandbox.images.nginx.values import Template

PREFIXES: Final = ("http_", "arg_", "cookie_", "sent_http_", "upstream_http_")
HASH_POINTER_BYTES: Final = 8


@dataclass
class Exchange:
    """One request on its way through nginx. Times are the loop's clock, in seconds."""

    request: web.BaseRequest
    server_name: str
    started: float
    maps: Mapping[str, Map]
    number: int
    set_values: dict[str, str] = field(default_factory=dict)
    captures: tuple[str, ...] = ()
    uri: str = ""
    status: int = 0
    body_bytes: int = 0
    proxy_host: str = ""
    proxy_port: str = ""
    upstream_addr: str = ""
    upstream_status: str = ""
    upstream_seconds: float | None = None
    upstream_header_seconds: float | None = None
    upstream_headers: Mapping[str, str] = field(default_factory=dict)
    response_headers: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    ended: float | None = None

    def value(self, name: str) -> str:
        """The variable's value; empty where nginx has none. The name was checked when the configuration was read."""
        if name in self.set_values:
            return self.set_values[name]
        if name in self.maps:
            return self.maps[name].value(self)
        if name.isdigit():
            return self.captures[int(name)] if int(name) < len(self.captures) else ""
        if builtin := BUILTIN.get(name):
            return builtin(self)
        return self._prefixed(name)

    def _prefixed(self, name: str) -> str:
        for prefix, headers in (
            ("sent_http_", self.response_headers),
            ("upstream_http_", self.upstream_headers),
            ("http_", self.request.headers),
        ):
            if name.startswith(prefix):
                return headers.get(name.removeprefix(prefix).replace("_", "-"), "")
        if name.startswith("cookie_"):
            return self.request.cookies.get(name.removeprefix("cookie_"), "")
        return self.request.query.get(name.removeprefix("arg_"), "")


def _remote(exchange: Exchange, index: int) -> str:
    transport = exchange.request.transport
    peer = transport.get_extra_info("peername") if transport else None
    return str(peer[index]) if peer else ""


def _local(exchange: Exchange, index: int) -> str:
    transport = exchange.request.transport
    own = transport.get_extra_info("sockname") if transport else None
    return str(own[index]) if own else ""


def _host(exchange: Exchange) -> str:
    name = exchange.request.headers.get("Host", "").rpartition("@")[2]
    return re.sub(r":\d+$", "", name).lower() or exchange.server_name


def _forwarded_for(exchange: Exchange) -> str:
    before = exchange.request.headers.get("X-Forwarded-For")
    return f"{before}, {_remote(exchange, 0)}" if before else _remote(exchange, 0)


def _identity(exchange: Exchange) -> str:
    exchange.identity = exchange.identity or secrets.token_hex(16)
    return exchange.identity


def _elapsed(exchange: Exchange) -> str:
    end = time.monotonic() if exchange.ended is None else exchange.ended
    return f"{end - exchange.started:.3f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _header(name: str) -> Callable[[Exchange], str]:
    return lambda exchange: str(exchange.request.headers.get(name, ""))


BUILTIN: Final[Mapping[str, Callable[[Exchange], str]]] = {
    "args": lambda e: e.request.query_string,
    "query_string": lambda e: e.request.query_string,
    "is_args": lambda e: "?" if e.request.query_string else "",
    "body_bytes_sent": lambda e: str(e.body_bytes),
    "bytes_sent": lambda e: str(e.body_bytes),
    "connection": lambda e: str(e.number),
    "content_length": _header("Content-Length"),
    "content_type": _header("Content-Type"),
    "document_uri": lambda e: e.uri,
    "uri": lambda e: e.uri,
    "host": _host,
    "hostname": lambda _: os.environ.get("HOSTNAME", ""),
    "http_host": _header("Host"),
    "https": lambda _: "",
    "msec": lambda _: f"{time.time():.3f}",
    "nginx_version": lambda _: VERSION,
    "pid": lambda _: str(os.getpid()),
    "pipe": lambda _: ".",
    "proxy_add_x_forwarded_for": _forwarded_for,
    "proxy_host": lambda e: e.proxy_host,
    "proxy_port": lambda e: e.proxy_port,
    "remote_addr": lambda e: _remote(e, 0),
    "remote_port": lambda e: _remote(e, 1),
    "remote_user": lambda _: "",
    "request": lambda e: f"{e.request.method} {e.request.raw_path} HTTP/1.1",
    "request_id": _identity,
    "request_length": lambda e: str(e.request.content_length or 0),
    "request_method": lambda e: e.request.method,
    "request_time": _elapsed,
    "request_uri": lambda e: e.request.raw_path,
    "scheme": lambda _: "http",
    "server_addr": lambda e: _local(e, 0),
    "server_name": lambda e: e.server_name,
    "server_port": lambda e: _local(e, 1),
    "server_protocol": lambda _: "HTTP/1.1",
    "status": lambda e: f"{e.status:03d}",
    "time_iso8601": lambda _: time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
    "time_local": lambda _: time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime()),
    "upstream_addr": lambda e: e.upstream_addr,
    "upstream_status": lambda e: e.upstream_status,
    "upstream_response_time": lambda e: _seconds(e.upstream_seconds),
    "upstream_header_time": lambda e: _seconds(e.upstream_header_seconds),
    "upstream_connect_time": lambda e: _seconds(e.upstream_header_seconds),
}


def check_known(names: Sequence[str] | frozenset[str], defined: frozenset[str]) -> None:
    """Raises Emergency for a variable nobody defines."""
    for name in sorted(names):
        known = name in defined or name in BUILTIN or name.isdigit() or name.startswith(PREFIXES)
        if not known:
            raise Emergency(f'unknown "{name}" variable')


class Map:
    """`map $source $name { … }`: exact values first, without regard to case as in nginx, then expressions in order."""

    def __init__(self, directive: Directive, bucket_size: int) -> None:
        self._source = Template(directive.args[0])
        self.name = directive.args[1].removeprefix("$")
        if not directive.args[1].startswith("$"):
            raise directive.refuse(f'invalid variable name "{directive.args[1]}"')
        self._exact: dict[str, Template] = {}
        self._expressions: list[tuple[re.Pattern[str], Template]] = []
        self._default = Template("")
        for line in directive.block or ():
            self._add(line, bucket_size)
        self.names = frozenset().union(
            self._source.names,
            self._default.names,
            *(template.names for template in self._exact.values()),
            *(template.names for _, template in self._expressions),
        )

    def _add(self, line: Directive, bucket_size: int) -> None:
        if line.name in ("volatile", "hostnames") and not line.args:
            return
        if len(line.args) != 1:
            raise line.refuse("invalid number of the map parameters")
        target = Template(line.args[0])
        if line.name == "default":
            self._default = target
        elif line.name.startswith("~"):
            insensitive = line.name.startswith("~*")
            source = line.name[2:] if insensitive else line.name[1:]
            self._expressions.append((re.compile(source, re.I if insensitive else 0), target))
        else:
            key = line.name.removeprefix("\\").lower()
            if key in self._exact:
                raise line.refuse(f'conflicting parameter "{line.name}"')
            # ngx_hash_init refuses a key that does not fit a bucket: long bearer keys meet this in production
            element = HASH_POINTER_BYTES + -(-(len(key) + 2) // HASH_POINTER_BYTES) * HASH_POINTER_BYTES
            if bucket_size < element + HASH_POINTER_BYTES:
                raise Emergency(
                    f"could not build map_hash, you should increase map_hash_bucket_size: {bucket_size}"
                )
            self._exact[key] = target

    def value(self, exchange: Exchange) -> str:
        source = self._source.render(exchange.value)
        found = self._exact.get(source.lower())
        if found is None:
            matching = (template for pattern, template in self._expressions if pattern.search(source))
            found = next(matching, self._default)
        return found.render(exchange.value)
