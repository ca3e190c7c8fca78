"""Choose free ports on 127.0.0.1 and a free 127.N block for a new sandbox."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from slipway_sandbox.settings import SandboxError, Settings


def free_port() -> int:
    """A port on 127.0.0.1 nobody listens on now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Different ports on 127.0.0.1 nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def free_network() -> str:
    """A block 127.N no other sandbox holds. Raises SandboxError where all are taken."""
    network, lock = _hold_any()
    lock.close()
    return network


def hold_network(wanted: str) -> tuple[str, socket.socket]:
    """Lock the block `wanted`, or the next free one where another sandbox has it; close the socket to release it.

    Two sandboxes in one block would give the same address to different pods. The lock is the block's last address.
    """
    return _hold_any(wanted)


# above what ip_unprivileged_port_start keeps for root
LOCK_PORT = 20009


def _hold_any(*first: str) -> tuple[str, socket.socket]:
    for network in (*first, *(f"127.{number}" for number in range(32, 250))):
        lock = socket.socket()
        try:
            lock.bind((f"{network}.255.254", LOCK_PORT))
        except OSError as error:
            lock.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return network, lock
    raise SandboxError("every block 127.32 to 127.249 is taken by another sandbox")


def plan_settings(
    root: Path,
    *,
    prefect_port: int | None = None,
    kubeconfig: Path | None = None,
    policies: Path | None = None,
    engine_program: Path | None = None,
    **speeds: Any,
) -> Settings:
    """Settings of a new sandbox on free ports; `speeds` are fields of Settings.

    Raises SandboxError where `prefect_port` is taken.
    """
    if prefect_port is not None:
        _check_free(prefect_port)
    ports = free_ports(6)
    return Settings(
        root=root,
        network=free_network(),
        aws_port=ports[0],
        control_port=ports[1],
        hub_port=ports[2],
        cdn_port=ports[3],
        metrics_port=ports[4],
        prefect_port=prefect_port or ports[5],
        kubeconfig=str(kubeconfig) if kubeconfig else None,
        policies=str(policies.resolve()) if policies else None,
        engine_program=str(engine_program) if engine_program else None,
        litellm_python=os.environ.get("SLIPWAY_LITELLM"),
        **speeds,
    )


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise SandboxError(
                f"port {port} on 127.0.0.1 is taken; `ss -ltnp 'sport = :{port}'` says by whom. Choose another with "
                "--port, or leave it out and a free one is taken"
            ) from None
