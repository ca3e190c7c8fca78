"""Ask one HTTP question with the standard library alone: for programs that also run where nothing else is installed."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

UNREACHABLE = (OSError, http.client.HTTPException)  # what `ask` raises where there is no answer


@dataclass(frozen=True)
class Way:
    """How TLS reaches a server and verifies it. `connect_to`: the host connections go to, "" for the URL's own.

    `authority`: PEM of the only authority that is trusted, "" for the system's. Either way the certificate must be for the URL's host.
    """

    connect_to: str = ""
    authority: str = ""

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority or None)


DIRECT = Way()


def at_url(base_url: str, way: Way = DIRECT) -> dict[str, str]:
    """What a program that asks is told of where: its instructions base_url, connect_to and authority."""
    return {"base_url": base_url, "connect_to": way.connect_to, "authority": way.authority}


class _Connection(http.client.HTTPSConnection):
    """HTTPS to a host that need not be the one whose certificate is asked for."""

    def __init__(self, host: str, port: int | None, way: Way, seconds: float) -> None:
        self._way, self._tls = way, way.context()
        super().__init__(host, port, timeout=seconds, context=self._tls)

    def connect(self) -> None:
        plain = socket.create_connection((self._way.connect_to or self.host, self.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


@dataclass(frozen=True)
class Answer:
    """Status and body; `json` raises ValueError."""

    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    url: str,
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    *,
    seconds: float = 30.0,
    way: Way = DIRECT,
) -> Answer:
    """GET, or POST where there is a body, on a connection of its own; no redirects, no proxies. Raises UNREACHABLE."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = _Connection(host, parts.port, way, seconds)
    else:
        connection = http.client.HTTPConnection(way.connect_to or host, parts.port, timeout=seconds)
    content = None if body is None else json.dumps(body)
    kind = {} if body is None else {"Content-Type": "application/json"}
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        connection.request(
            "GET" if body is None else "POST", path or "/", content, {**kind, **(headers or {})}
        )
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(errors="replace"))
    finally:
        connection.close()
