"""HTTP to the hub and its CDN: pooled connections, no redirects of its own, the token for the hub's host alone.

urllib3 rather than httpx: `readinto` a part's buffer costs a quarter of the CPU a byte, and eight workers share one
interpreter lock. huggingface_hub is not used for bytes: it retries a 429 but not a 503, and never within a file.
"""

from __future__ import annotations

import os
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.response import BaseHTTPResponse

DEFAULT_ENDPOINT = "https://huggingface.co"


def hub_endpoint(given: str | None) -> str:
    """The hub's address: as given, else HF_ENDPOINT as huggingface_hub honours it, else the public hub."""
    return (given or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class HubSession:
    """Used from any thread. Raises urllib3's HTTPError where no answer came."""

    def __init__(self, endpoint: str, token: str | None, *, connections: int = 10) -> None:
        self.endpoint = endpoint
        self._token = token
        self._origin = origin(endpoint)
        timeout = urllib3.Timeout(connect=10.0, read=60.0)
        proxy = getproxies().get(self._origin[0])
        if proxy and not proxy_bypass(self._origin[1]):
            self._pool: urllib3.PoolManager = urllib3.ProxyManager(
                proxy, maxsize=connections, timeout=timeout, retries=False
            )
        else:
            self._pool = urllib3.PoolManager(maxsize=connections, timeout=timeout, retries=False)

    def file_url(self, repo: str, commit: str, path: str) -> str:
        return f"{self.endpoint}/{repo}/resolve/{commit}/{quote(path)}"

    def at_hub(self, url: str) -> bool:
        """Whether the token may go there: scheme, host and port are the hub's own."""
        return origin(url) == self._origin

    def authorization(self, url: str) -> dict[str, str]:
        """The header that proves who asks; empty for any host but the hub's, and without a token."""
        return {"Authorization": f"Bearer {self._token}"} if self._token and self.at_hub(url) else {}

    def open(self, method: str, url: str, headers: dict[str, str] | None = None) -> BaseHTTPResponse:
        """An answer whose body is still to be read; redirects come back as they are."""
        sent = {"Accept-Encoding": "identity", "User-Agent": "slipway"} | (headers or {})
        sent |= self.authorization(url)
        return self._pool.request(
            method, url, headers=sent, redirect=False, preload_content=False, decode_content=False
        )

    def close(self) -> None:
        self._pool.clear()
