"""A checked configuration: listening servers, their locations, upstreams and maps, ready to answer requests."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from slipway_sandbox.images.hosts import HostsFile
from slipway_sandbox.images.nginx import directives, grammar
from slipway_sandbox.images.nginx.grammar import Directive
from slipway_sandbox.images.nginx.rewrite import Operation, compile_rewrite
from slipway_sandbox.images.nginx.values import Template, flag, seconds, size
from slipway_sandbox.images.nginx.variables import Map, check_known

COMBINED: Final = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
DEFAULT_BUCKET_SIZE: Final = 64  # a cache line of x86-64


class Scope:
    """Directives of one level; a single value is inherited, a list only where a level has none of its own."""

    def __init__(self, own: Sequence[Directive], parent: Scope | None = None) -> None:
        self._parent = parent
        self._own: dict[str, list[Directive]] = {}
        for directive in own:
            self._own.setdefault(directive.name, []).append(directive)

    def all(self, name: str) -> list[Directive]:
        if name in self._own:
            return self._own[name]
        return self._parent.all(name) if self._parent else []

    def one(self, name: str) -> Directive | None:
        found = self.all(name)
        if len(found) > 1:
            raise found[1].refuse(f'"{name}" directive is duplicate')
        return found[0] if found else None

    def flag(self, name: str, default: bool) -> bool:
        found = self.one(name)
        return default if found is None else flag(found)

    def seconds(self, name: str, default: float) -> float:
        found = self.one(name)
        return default if found is None else seconds(found, found.args[0])

    def size(self, name: str, default: int) -> int:
        found = self.one(name)
        return default if found is None else size(found, found.args[0])


@dataclass
class Peer:
    """One `server` of an upstream; `address` is fixed at start unless it is to be resolved for each request."""

    host: str
    port: int
    address: str | None
    max_fails: int = 1
    fail_timeout: float = 10.0
    fails: int = 0
    out_until: float = 0.0


@dataclass
class Upstream:
    name: str
    peers: list[Peer]
    turn: int = 0

    def order(self, now: float) -> Iterator[Peer]:
        """Round robin over peers that are not out; all of them when every one is."""
        self.turn += 1
        turned = self.peers[self.turn % len(self.peers) :] + self.peers[: self.turn % len(self.peers)]
        live = [peer for peer in turned if peer.out_until <= now] if len(turned) > 1 else turned
        yield from live or turned


@dataclass(frozen=True)
class Proxy:
    """`proxy_pass`: a fixed upstream, or a URL that is worked out for each request."""

    url: Template
    upstream: Upstream | None
    host: str
    uri: str | None
    headers: tuple[tuple[str, Template], ...]
    buffering: bool
    intercept_errors: bool
    connect_timeout: float
    read_timeout: float
    next_upstream: frozenset[str]
    hidden: frozenset[str]
    resolver: bool


@dataclass(frozen=True)
class ErrorPage:
    codes: frozenset[int]
    code: int | None  # None: the original one; 0: what the other location answers
    uri: str


@dataclass(frozen=True)
class Location:
    path: str
    internal: bool
    rewrite: tuple[Operation, ...]
    proxy: Proxy | None
    stub_status: bool
    default_type: str
    max_body: int
    headers: tuple[tuple[str, Template, bool], ...]
    error_pages: tuple[ErrorPage, ...]
    access_log: tuple[tuple[str, Template], ...]
    tokens: bool


@dataclass
class VirtualServer:
    names: tuple[str, ...]
    default: bool
    ports: tuple[int, ...]
    rewrite: tuple[Operation, ...]
    keep_alive: float
    outer: Location  # what holds when no location matches
    exact: dict[str, Location] = field(default_factory=dict)
    prefixes: list[tuple[str, bool, Location]] = field(default_factory=list)
    expressions: list[tuple[re.Pattern[str], Location]] = field(default_factory=list)
    named: dict[str, Location] = field(default_factory=dict)

    def find(self, path: str) -> Location:
        """nginx's order: exact, then the longest prefix unless an expression is to be tried first."""
        if path in self.exact:
            return self.exact[path]
        best = max((p for p in self.prefixes if path.startswith(p[0])), key=lambda p: len(p[0]), default=None)
        if best is None or not best[1]:
            for pattern, location in self.expressions:
                if pattern.search(path):
                    return location
        return best[2] if best else self.outer


@dataclass(frozen=True)
class Configuration:
    servers: tuple[VirtualServer, ...]
    maps: dict[str, Map]
    upstreams: dict[str, Upstream]
    error_log: str
    pid_file: Path
    shutdown_timeout: float | None

    @property
    def ports(self) -> frozenset[int]:
        return frozenset(port for server in self.servers for port in server.ports)

    def server_for(self, port: int, host: str) -> VirtualServer:
        """By Host header: exact, then wildcards, then the port's default server, then its first."""
        here = [server for server in self.servers if port in server.ports]
        for server in here:
            if host in server.names:
                return server
        for server in here:
            if any(n.startswith("*.") and host.endswith(n[1:]) for n in server.names):
                return server
        return next((server for server in here if server.default), here[0])


class _Compiler:
    def __init__(self, top: Sequence[Directive], hosts: HostsFile, mounts: Mapping[str, str]) -> None:
        self._hosts, self._mounts = hosts, mounts
        self._main = Scope(top)
        http = self._main.one("http")
        self._http_directives = http.block or () if http else ()
        self._http = Scope(self._http_directives, self._main)
        self._formats = {"combined": Template(COMBINED)}
        self._upstreams: dict[str, Upstream] = {}
        self._needed: set[str] = set()
        self._set: set[str] = set()

    def compile(self) -> Configuration:
        bucket = self._http.size("map_hash_bucket_size", DEFAULT_BUCKET_SIZE)
        maps = {m.name: m for m in (Map(d, bucket) for d in self._named("map"))}
        for entry in self._named("log_format"):
            words = [a for a in entry.args[1:] if not a.startswith("escape=")]
            self._formats[entry.args[0]] = self._template("".join(words))
        for block in self._named("upstream"):
            self._upstreams[block.args[0]] = self._upstream(block)
        servers = tuple(self._server(block) for block in self._named("server"))
        for made in maps.values():
            self._needed |= made.names
        check_known(frozenset(self._needed), frozenset(maps) | frozenset(self._set))
        log = self._main.one("error_log")
        timeout = self._main.one("worker_shutdown_timeout")
        pid = self._main.one("pid")
        return Configuration(
            servers,
            maps,
            self._upstreams,
            log.args[0] if log else "/var/log/nginx/error.log",
            pid_file(pid.args[0] if pid else "/run/nginx.pid", self._mounts),
            seconds(timeout, timeout.args[0]) if timeout else None,
        )

    def _named(self, name: str) -> list[Directive]:
        return [directive for directive in self._http_directives if directive.name == name]

    def _template(self, source: str) -> Template:
        template = Template(source)
        self._needed |= template.names
        return template

    def _peer(self, directive: Directive, endpoint: str, default_port: int, options: Sequence[str]) -> Peer:
        host, colon, port = endpoint.partition(":")
        if colon and not port.isdigit():
            raise directive.refuse(f'invalid port in upstream "{endpoint}"')
        address = None
        if "resolve" not in options:
            try:
                address = self._hosts.lookup(host)
            except OSError as error:
                raise directive.refuse(f'host not found in upstream "{endpoint}"') from error
        values = dict(option.partition("=")[::2] for option in options)
        unknown = set(values) - {"resolve", "max_fails", "fail_timeout", "weight", "max_conns"}
        if unknown:
            raise directive.refuse(f'invalid parameter "{sorted(unknown)[0]}"')
        return Peer(
            host,
            int(port) if port else default_port,
            address,
            int(values.get("max_fails", "1")),
            seconds(directive, values.get("fail_timeout", "10s")),
        )

    def _upstream(self, block: Directive) -> Upstream:
        inner = block.block or ()
        peers = [self._peer(d, d.args[0], 80, d.args[1:]) for d in inner if d.name == "server" and d.args]
        if not peers:
            raise block.refuse("no servers are inside upstream")
        return Upstream(block.args[0], peers)

    def _server(self, block: Directive) -> VirtualServer:
        inner = block.block or ()
        scope = Scope([d for d in inner if d.name != "location"], self._http)
        ports, default = self._listen([d for d in inner if d.name == "listen"])
        names = tuple(name.lower() for d in inner if d.name == "server_name" for name in d.args)
        keep_alive = scope.one("keepalive_timeout")
        server = VirtualServer(
            names or ("",),
            default,
            ports,
            self._rewrite(inner),
            seconds(keep_alive, keep_alive.args[0]) if keep_alive else 75.0,
            self._location("", (), scope),
        )
        self._locations(server, inner, scope)
        return server

    def _listen(self, lines: Sequence[Directive]) -> tuple[tuple[int, ...], bool]:
        ports: list[int] = []
        default = False
        for line in lines:
            endpoint = line.args[0]
            if endpoint.startswith("unix:") or "ssl" in line.args or "quic" in line.args:
                raise line.refuse(f'"{" ".join(line.args)}" is not supported by the sandbox\'s nginx')
            port = endpoint.rpartition(":")[2] if ":" in endpoint else endpoint
            if not port.isdigit() and not endpoint.startswith("[") and ":" in endpoint:
                raise line.refuse(f'invalid port in "{endpoint}" of the "listen" directive')
            ports.append(int(port) if port.isdigit() else 80)
            default = default or "default_server" in line.args
        return tuple(dict.fromkeys(ports or [80])), default

    def _locations(self, server: VirtualServer, inner: Sequence[Directive], outer: Scope) -> None:
        for block in (d for d in inner if d.name == "location"):
            body = block.block or ()
            scope = Scope([d for d in body if d.name != "location"], outer)
            modifier, path = block.args if len(block.args) == 2 else ("", block.args[0])
            made = self._location(path, body, scope)
            if modifier == "=":
                server.exact[path] = made
            elif modifier in ("~", "~*"):
                server.expressions.append((re.compile(path, re.I if modifier == "~*" else 0), made))
            elif modifier not in ("", "^~"):
                raise block.refuse(f'invalid location modifier "{modifier}"')
            elif path.startswith("@"):
                server.named[path] = made
            else:
                if any(path == known for known, _, _ in server.prefixes):
                    raise block.refuse(f'duplicate location "{path}"')
                server.prefixes.append((path, modifier == "^~", made))
            self._locations(server, body, scope)

    def _rewrite(self, inner: Sequence[Directive]) -> tuple[Operation, ...]:
        operations = compile_rewrite(inner)
        for operation in operations:
            self._needed |= operation.needed()
            self._set |= operation.defined()
        return operations

    def _location(self, path: str, body: Sequence[Directive], scope: Scope) -> Location:
        passed = next((d for d in body if d.name == "proxy_pass"), None)
        default_type = scope.one("default_type")
        return Location(
            path=path,
            internal=any(d.name == "internal" for d in body) or path.startswith("@"),
            rewrite=self._rewrite(body),
            proxy=self._proxy(passed, scope) if passed else None,
            stub_status=any(d.name == "stub_status" for d in body),
            default_type=default_type.args[0] if default_type else "text/plain",
            max_body=scope.size("client_max_body_size", 1 << 20),
            headers=tuple(
                (d.args[0], self._template(d.args[1]), "always" in d.args[2:])
                for d in scope.all("add_header")
            ),
            error_pages=tuple(_error_page(d) for d in scope.all("error_page")),
            access_log=self._access_log(scope),
            tokens=scope.flag("server_tokens", True),
        )

    def _access_log(self, scope: Scope) -> tuple[tuple[str, Template], ...]:
        logs: list[tuple[str, Template]] = []
        lines = scope.all("access_log")
        for line in lines:
            if line.args[0] == "off":
                return ()
            name = line.args[1] if len(line.args) > 1 else "combined"
            if name not in self._formats:
                raise line.refuse(f'unknown log format "{name}"')
            logs.append((line.args[0], self._formats[name]))
        return tuple(logs) if lines else (("/var/log/nginx/access.log", self._formats["combined"]),)

    def _proxy(self, directive: Directive, scope: Scope) -> Proxy:
        url = self._template(directive.args[0])
        upstream, host, uri = None, "", None
        if not url.names:
            parts = urlsplit(url.source)
            if parts.scheme != "http" or not parts.netloc:
                raise directive.refuse("invalid URL prefix")
            host = parts.netloc
            upstream = self._upstreams.get(host) or Upstream(host, [self._peer(directive, host, 80, ())])
            uri = (parts.path + (f"?{parts.query}" if parts.query else "")) or None
        again = scope.one("proxy_next_upstream")
        headers = tuple((d.args[0], self._template(d.args[1])) for d in scope.all("proxy_set_header"))
        return Proxy(
            url=url,
            upstream=upstream,
            host=host,
            uri=uri,
            headers=headers,
            buffering=scope.flag("proxy_buffering", True),
            intercept_errors=scope.flag("proxy_intercept_errors", False),
            connect_timeout=scope.seconds("proxy_connect_timeout", 60.0),
            read_timeout=scope.seconds("proxy_read_timeout", 60.0),
            next_upstream=frozenset(again.args if again else ("error", "timeout")),
            hidden=frozenset(d.args[0].lower() for d in scope.all("proxy_hide_header")),
            resolver=bool(scope.all("resolver")),
        )


def pid_file(path: str, mounts: Mapping[str, str]) -> Path:
    """Where `pid` really is: in a mount, or else in the container's own temporary folder, never the machine's."""
    own = Path(tempfile.gettempdir()) / path.lstrip("/").replace("/", "-")
    return grammar.Places(Path("/"), mounts).find(path) if grammar.covered(path, mounts) else own


def _error_page(directive: Directive) -> ErrorPage:
    *codes, uri = directive.args
    code: int | None = None
    if codes and codes[-1].startswith("="):
        code = int(codes.pop()[1:] or "0")
    if not codes or not all(c.isdigit() for c in codes):
        raise directive.refuse("invalid value in error_page")
    return ErrorPage(frozenset(map(int, codes)), code, uri)


def load(path: Path, hosts: HostsFile, mounts: Mapping[str, str]) -> Configuration:
    """Read, check and compile; `mounts` as in grammar.read. Raises grammar.Emergency in nginx's words."""
    top = grammar.read(path, mounts)
    directives.check(top)
    if not any(directive.name == "events" for directive in top):
        raise grammar.Emergency('no "events" section in configuration')
    return _Compiler(top, hosts, mounts).compile()
