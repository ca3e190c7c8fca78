"""Split a model's requests between two Services by weight, at the gateway: NGINX's weighted round robin. Pure.

https://nginx.org/en/docs/http/ngx_http_upstream_module.html#server: exact over any hundred requests of a worker.
"""

from __future__ import annotations

import re

WHOLE = 100
_SERVER = re.compile(r"^(\s*server )(\S+?)(\.\S+) (max_fails=0;)$")


def split(upstream: str, other: str, percent: int) -> str:
    """An upstream of `gateway.routes` that leads `percent` of the requests to the Service `other` of the same namespace.

    At 0 and 100 it has one Service alone. A holder's line stays: it is a backup. Raises ValueError for another percentage.
    """
    if not 0 <= percent <= WHOLE:
        raise ValueError(f"{percent} is no percentage")
    lines = []
    for line in upstream.splitlines():
        found = _SERVER.match(line)
        if not found:
            lines.append(line)
            continue
        server, service, rest, failing = found.groups()
        for name, weight in ((service, WHOLE - percent), (other, percent)):
            if weight:
                lines.append(f"{server}{name}{rest} weight={weight} {failing}")
    return "\n".join([*lines, ""])
