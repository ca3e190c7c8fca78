"""`python -m slipway_sandbox.hub --root DIR`: the hub of the sandbox in DIR, until it is interrupted."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from slipway_sandbox.faults import Faults
from slipway_sandbox.hub.server import start_hub
from slipway_sandbox.settings import Settings


async def _serve(root: Path) -> None:
    settings = Settings.load(root)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    hub = await start_hub(settings, Faults(settings.faults_file))
    print(f"hub on {hub.url}, CDN on {hub.cdn_url}", flush=True)
    try:
        await ended.wait()
    finally:
        await hub.stop()


@click.command()
@click.option("--root", type=click.Path(path_type=Path), required=True, help="The sandbox's state folder.")
def main(root: Path) -> None:
    """Serve the sandbox's hub."""
    asyncio.run(_serve(root))


if __name__ == "__main__":
    main()
