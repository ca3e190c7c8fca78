"""`python -m slipway_sandbox.images.nginx -g 'daemon off;' [-c FILE]`: nginx in a pod, on SLIPWAY_SANDBOX_POD_IP."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

import uvloop
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.hosts import HostsFile
from slipway_sandbox.images.nginx import VERSION, logfiles
from slipway_sandbox.images.nginx.config import Configuration, load
from slipway_sandbox.images.nginx.gateway import Gateway
from slipway_sandbox.images.nginx.grammar import Emergency
from slipway_sandbox.images.nginx.proxying import Proxying

DEFAULT_FILE: Final = "/etc/nginx/nginx.conf"
MAX_QUIT_SECONDS: Final = 3600.0  # a graceful end waits for streams; the kubelet is less patient
FAST_SECONDS: Final = 0.02  # 0 would mean to aiohttp: for ever
SIGNALS: Final = {
    "stop": signal.SIGTERM,
    "quit": signal.SIGQUIT,
    "reload": signal.SIGHUP,
    "reopen": signal.SIGUSR1,
}
STOP, QUIT, RELOAD, REOPEN = "stop", "quit", "reload", "reopen"


def main() -> int:
    parser = argparse.ArgumentParser(prog="nginx", add_help=False)
    parser.add_argument("-c", default=os.environ.get("NGINX_CONF", DEFAULT_FILE))
    parser.add_argument("-g", default="")
    parser.add_argument("-t", action="store_true")
    parser.add_argument("-v", action="store_true")
    parser.add_argument("-s", choices=tuple(SIGNALS))
    args = parser.parse_args(sys.argv[2:] if sys.argv[1:2] == ["nginx"] else sys.argv[1:])
    if args.v:
        print(f"nginx version: nginx/{VERSION}", file=sys.stderr)
        return 0
    hosts = HostsFile.from_environment()
    try:
        configuration = load(Path(args.c), hosts, pod_mounts())
    except Emergency as error:
        print(f"nginx: [emerg] {error}", file=sys.stderr)
        if args.t:
            print(f"nginx: configuration file {args.c} test failed", file=sys.stderr)
        return 1
    if args.t:
        print(f"nginx: the configuration file {args.c} syntax is ok", file=sys.stderr)
        print(f"nginx: configuration file {args.c} test is successful", file=sys.stderr)
        return 0
    if args.s:
        return send_signal(configuration.pid_file, SIGNALS[args.s])
    try:
        uvloop.run(Master(Path(args.c), hosts, configuration).run())
    except OSError as error:
        print(f"nginx: [emerg] bind() failed ({error.errno}: {error.strerror})", file=sys.stderr)
        return 1
    return 0


def send_signal(pid_file: Path, signum: signal.Signals) -> int:
    """`nginx -s`: to the process the pid file names. Returns at once, whatever becomes of it."""
    try:
        os.kill(int(pid_file.read_text("utf-8")), signum)
    except FileNotFoundError:
        print(f'nginx: [error] open() "{pid_file}" failed (2: No such file or directory)', file=sys.stderr)
        return 1
    except (ProcessLookupError, ValueError) as error:
        print(f"nginx: [alert] kill() failed ({error})", file=sys.stderr)
        return 1
    return 0


def pod_mounts() -> dict[str, str]:
    """The pod's volume mounts, path in the pod -> real path, as the kubelet hands them over."""
    mounts: dict[str, str] = json.loads(os.environ.get("SLIPWAY_SANDBOX_MOUNTS", "{}"))
    return mounts


class CountingServer(web.Server):
    """aiohttp calls the server once for each accepted connection."""

    accepted = 0

    def __call__(self) -> RequestHandler:
        self.accepted += 1
        return super().__call__()


class Master:
    """Listens on the configured ports, reloads on SIGHUP, ends fast on SIGTERM and in grace on SIGQUIT."""

    def __init__(self, path: Path, hosts: HostsFile, configuration: Configuration) -> None:
        self._path, self._hosts = path, hosts
        self._address = os.environ.get("SLIPWAY_SANDBOX_POD_IP", "127.0.0.1")
        self._logs = logfiles.LogFiles()
        root = os.environ.get("SLIPWAY_SANDBOX_ROOT")
        self._proxying = Proxying(hosts, Faults(Path(root) / "faults.json") if root else None)
        self._gateway = Gateway(configuration, self._proxying, self._logs)
        self._sites: dict[int, web.TCPSite] = {}

    async def run(self) -> None:
        orders: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for signum, order in (
            (signal.SIGTERM, STOP),
            (signal.SIGINT, STOP),
            (signal.SIGQUIT, QUIT),
            (signal.SIGHUP, RELOAD),
            (signal.SIGUSR1, REOPEN),
        ):
            loop.add_signal_handler(signum, orders.put_nowait, order)
        await self._proxying.start()
        keep_alive = max((s.keep_alive for s in self._gateway.configuration.servers), default=75.0)
        self._server = CountingServer(
            self._handle, handler_cancellation=True, keepalive_timeout=keep_alive, access_log=None
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=FAST_SECONDS)
        await self._runner.setup()
        try:
            await self._listen()
            pid_file = self._gateway.configuration.pid_file
            pid_file.write_text(f"{os.getpid()}\n", "utf-8")
            self._notice("start worker processes")
            while (order := await orders.get()) in (RELOAD, REOPEN):
                await self._reload() if order == RELOAD else self._logs.close()
            await self._end(orders, graceful=order == QUIT)
            pid_file.unlink(missing_ok=True)
        finally:
            await self._runner.cleanup()
            await self._proxying.close()
            self._logs.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._gateway.connections = len(self._server.connections)
        self._gateway.accepted = self._server.accepted
        return await self._gateway.handle(request)

    async def _listen(self) -> None:
        wanted = self._gateway.configuration.ports
        for port in wanted - set(self._sites):
            site = web.TCPSite(self._runner, self._address, port, backlog=511, reuse_address=True)
            await site.start()
            self._sites[port] = site
        for port in set(self._sites) - wanted:
            await self._sites.pop(port).stop()

    async def _reload(self) -> None:
        self._notice("signal 1 (SIGHUP) received, reconfiguring")
        try:
            self._gateway.configuration = load(self._path, self._hosts, pod_mounts())
        except Emergency as error:
            self._logs.write("stderr", logfiles.record("emerg", str(error)))
            return
        await self._listen()

    async def _end(self, orders: asyncio.Queue[str], *, graceful: bool) -> None:
        self._notice("gracefully shutting down" if graceful else "signal 15 (SIGTERM) received, exiting")
        for site in self._sites.values():
            await site.stop()
        if not graceful:
            return
        self._gateway.quitting = True
        self._server.pre_shutdown()  # idle keep-alive connections close at once
        limit = self._gateway.configuration.shutdown_timeout or MAX_QUIT_SECONDS
        deadline = time.monotonic() + limit
        while self._gateway.active and time.monotonic() < deadline:
            if not orders.empty() and orders.get_nowait() == STOP:
                self._notice("signal 15 (SIGTERM) received, exiting")
                return
            await asyncio.sleep(0.02)
        self._notice("exit")

    def _notice(self, text: str) -> None:
        self._logs.write(self._gateway.configuration.error_log, logfiles.record("notice", text))


if __name__ == "__main__":
    sys.exit(main())
