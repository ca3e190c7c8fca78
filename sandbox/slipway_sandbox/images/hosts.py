"""Resolve Service names inside a pod from the hosts file at $SLIPWAY_SANDBOX_HOSTS; refuse addresses off loopback."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Final

# resolv.conf's search list as far as it does not depend on the pod's namespace
SEARCH: Final = ("", ".svc.cluster.local", ".cluster.local")


class NotLoopback(OSError):
    """The name or address is not on loopback."""


def _loopback(address: str) -> str:
    if not ipaddress.ip_address(address).is_loopback:
        raise NotLoopback(f"{address} is not a loopback address: a sandbox's pod calls nothing else")
    return address


class HostsFile:
    """A hosts file ("IP name name…"), read again for each lookup."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @classmethod
    def from_environment(cls) -> HostsFile:
        path = os.environ.get("SLIPWAY_SANDBOX_HOSTS")
        return cls(Path(path) if path else None)

    def lookup(self, name: str) -> str:
        """The IPv4 address of a name, of an address itself, or of localhost.

        Raises NotLoopback, or OSError (gaierror) for an unknown name.
        """
        wanted = name.rstrip(".").lower()
        try:
            return _loopback(wanted)
        except ValueError:
            pass  # a name, not an address
        names = self._read()
        for suffix in SEARCH:
            if address := names.get(wanted + suffix):
                return _loopback(address)
        if wanted == "localhost":
            return "127.0.0.1"
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def _read(self) -> dict[str, str]:
        if self._path is None or not self._path.exists():
            return {}
        names: dict[str, str] = {}
        for line in self._path.read_text("utf-8").splitlines():
            address, *aliases = line.partition("#")[0].split() or [""]
            for alias in aliases:
                names.setdefault(alias.lower(), address)
        return names
