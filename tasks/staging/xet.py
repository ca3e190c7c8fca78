"""Where the hub keeps a file in Xet, its content store, and where a token for the store comes from. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

# What huggingface_hub refuses to fetch over plain HTTP (its MAX_HTTP_DOWNLOAD_SIZE), in bytes.
PLAIN_AT_MOST = 50_000_000_000
_AUTH_LINK = re.compile(r'<([^>]+)>\s*;\s*rel="xet-auth"')


@dataclass(frozen=True)
class XetPlace:
    """A file in Xet: its hash there, and the URL that issues a token for the store."""

    hash: str
    token_url: str


def xet_place(headers: Mapping[str, str], asked: str) -> XetPlace | None:
    """Read an answer of /resolve (`asked`: its URL) as huggingface_hub does; None for a file that is not in Xet."""
    digest = headers.get("X-Xet-Hash", "")
    link = _AUTH_LINK.search(headers.get("Link", ""))
    route = link[1] if link else headers.get("X-Xet-Refresh-Route", "")
    return XetPlace(digest, urljoin(asked, route)) if digest and route else None
