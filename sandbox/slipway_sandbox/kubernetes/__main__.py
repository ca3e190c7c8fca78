"""`python -m slipway_sandbox.kubernetes --port P --token T [--kubeconfig FILE]`: one API server alone, for tests and curiosity."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import signal
import tempfile
from pathlib import Path

from slipway_sandbox.faults import Faults
from slipway_sandbox.kubernetes.certificates import make_authority
from slipway_sandbox.kubernetes.errors import Unauthorized
from slipway_sandbox.kubernetes.kubeconfig import write_kubeconfig
from slipway_sandbox.kubernetes.server import ApiServer


async def serve(options: argparse.Namespace) -> None:
    async def authenticate(token: str | None) -> str:
        if token is None or not hmac.compare_digest(token, options.token):
            raise Unauthorized
        return "kubernetes-admin"

    authority = make_authority()
    server = ApiServer(
        name=options.name,
        authenticate=authenticate,
        faults=Faults(options.faults),
        service_network=options.service_network,
    )
    port = await server.start("127.0.0.1", options.port, authority.server_context())
    user, server_url = {"token": options.token}, f"https://127.0.0.1:{port}"
    write_kubeconfig(options.kubeconfig, options.name, server_url, authority.ca_pem, user)
    print(options.kubeconfig, flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slipway_sandbox.kubernetes", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", required=True)
    parser.add_argument("--name", default="sandbox")
    parser.add_argument("--service-network", default="127.1")
    parser.add_argument("--kubeconfig", type=Path)
    parser.add_argument("--faults", type=Path, help="the file slipway_sandbox.faults keeps its switches in")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kubernetes-")))
        options.kubeconfig = options.kubeconfig or folder / "kubeconfig"
        options.faults = options.faults or folder / "faults.json"
        asyncio.run(serve(options))


if __name__ == "__main__":
    main()
