"""The prometheus container: `prometheus --prometheus-object=NAMESPACE/NAME --storage.tsdb.retention.time=2h`.

Listens on SLIPWAY_SANDBOX_POD_IP and discovers targets through KUBECONFIG. `--prometheus-object` replaces the
configuration file the operator writes: it names the Prometheus object whose selectors apply.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.prometheus.http import VERSION, Api
from slipway_sandbox.images.prometheus.promql import duration_seconds
from slipway_sandbox.images.prometheus.scrape import Scraper
from slipway_sandbox.images.prometheus.storage import Storage
from slipway_sandbox.images.prometheus.watch import Discovery, read_kubeconfig
from slipway_sandbox.settings import Settings

_CONNECTIONS = 200


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prometheus", description=__doc__)
    parser.add_argument("--prometheus-object", required=True, help="NAMESPACE/NAME")
    parser.add_argument("--storage.tsdb.retention.time", dest="retention", default="2h")
    parser.add_argument("--web.listen-address", dest="listen", default="0.0.0.0:9090")
    # The image's default arguments; ignored, as configuration comes from the API and samples stay in memory.
    parser.add_argument("--config.file", dest="config", help=argparse.SUPPRESS)
    parser.add_argument("--storage.tsdb.path", dest="path", help=argparse.SUPPRESS)
    return parser.parse_args()


def _log(level: str, message: str, **fields: object) -> None:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    more = "".join(f' {name}="{value}"' for name, value in fields.items())
    print(f'time={moment} level={level} source=main.go msg="{message}"{more}', file=sys.stderr, flush=True)


async def _serve(options: argparse.Namespace) -> int:
    settings = Settings.from_environment()
    namespace, _, name = options.prometheus_object.partition("/")
    access = read_kubeconfig(Path(os.environ["KUBECONFIG"]))
    storage = Storage(retention_seconds=duration_seconds(options.retention))
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session, access.client() as client:
        scraper = Scraper(storage, session)
        api = Api(storage, Faults(settings.faults_file), time.time)
        runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        address, port = os.environ["SLIPWAY_SANDBOX_POD_IP"], int(options.listen.rpartition(":")[2])
        await web.TCPSite(runner, address, port).start()
        _log("INFO", "Start listening for connections", component="web", address=f"{address}:{port}")
        discovery = Discovery(client, scraper, namespace, name, settings.scrape_seconds)
        following = asyncio.create_task(discovery.run())
        waiting = asyncio.create_task(ended.wait())
        _log("INFO", "Server is ready to receive web requests.")
        await asyncio.wait([following, waiting], return_when=asyncio.FIRST_COMPLETED)
        failed = following.done()
        if failed:
            _log("ERROR", "Discovery failed", err=following.exception())
        else:
            _log("WARN", "Received an OS signal, exiting gracefully...", signal="terminated")
        for task in (following, waiting):
            task.cancel()
        await asyncio.gather(following, waiting, return_exceptions=True)
        await scraper.stop()
        await runner.cleanup()
    _log("INFO", "See you next time!")
    return 1 if failed else 0


def main() -> None:
    options = _arguments()
    _log("INFO", "Starting Prometheus Server", mode="server", version=f"(version={VERSION}, sandbox)")
    sys.exit(asyncio.run(_serve(options)))


if __name__ == "__main__":
    main()
