"""Ask one HTTP question with the standard library alone: for programs that also run where nothing else is installed."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

UNREACHABLE = (OSError, http.client.HTTPException)  # what `ask` raises where there is no answer


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
) -> Answer:
    """GET, or POST where there is a body, on a connection of its own; no redirects, no proxies. Raises UNREACHABLE."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=seconds, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=seconds)
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
