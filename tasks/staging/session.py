"""HTTP to the hub and its CDN: pooled connections, redirects left to the caller, the token sent to the hub's host only.

urllib3 rather than httpx: `readinto` a part's buffer costs a quarter of the CPU a byte, and eight workers share one
interpreter lock. huggingface_hub does not fetch the bytes: it retries a 429 but not a 503, and never within a file.
"""

from __future__ import annotations

import os
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.response import BaseHTTPResponse

DEFAULT_ENDPOINT = "https://huggingface.co"


def hub_endpoint() -> str:
    """The hub's address: HF_ENDPOINT, which huggingface_hub honours too, else the public hub."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


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

    @property
    def token_given(self) -> bool:
        return bool(self._token)

    def file_url(self, repo: str, commit: str, path: str) -> str:
        return f"{self.endpoint}/{repo}/resolve/{commit}/{quote(path)}"

    def at_hub(self, url: str) -> bool:
        """Whether a URL has the hub's scheme, host and port: only then may the token be sent there."""
        return origin(url) == self._origin

    def authorization(self, url: str) -> dict[str, str]:
        """The Authorization header; empty for any host but the hub's, and without a token."""
        return {"Authorization": f"Bearer {self._token}"} if self._token and self.at_hub(url) else {}

    def open(self, method: str, url: str, headers: dict[str, str] | None = None) -> BaseHTTPResponse:
        """Send a request. The answer's body is not read yet; a redirect is returned as it is."""
        sent = {"Accept-Encoding": "identity", "User-Agent": "slipway"} | (headers or {})
        sent |= self.authorization(url)
        return self._pool.request(
            method, url, headers=sent, redirect=False, preload_content=False, decode_content=False
        )

    def close(self) -> None:
        self._pool.clear()
