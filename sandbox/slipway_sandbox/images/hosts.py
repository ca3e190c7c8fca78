"""DNS inside a pod: the hosts file the kubelet keeps at $SLIPWAY_SANDBOX_HOSTS, and nothing that is not loopback."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

# resolv.conf's search list as far as it does not depend on the pod's namespace
SEARCH: Final = (".svc.cluster.local", ".cluster.local")


class NotLoopback(OSError):
    """A name or address leads out of the sandbox."""


def _loopback(address: str) -> str:
    if not ipaddress.ip_address(address).is_loopback:
        raise NotLoopback(f"{address} is not a loopback address: a sandbox's pod calls nothing else")
    return address


class HostsFile:
    """`lookup(name)` reads the file again whenever it has changed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._names: dict[str, str] = {}

    @classmethod
    def from_environment(cls) -> HostsFile:
        path = os.environ.get("SLIPWAY_SANDBOX_HOSTS")
        return cls(Path(path) if path else None)

    def lookup(self, name: str, *, search: bool = True) -> str:
        """The IPv4 address of `name`, of an address itself, or of localhost.

        `search` also tries the resolver's search domains, as the C library does and nginx's own resolver does not.
        Raises NotLoopback, or OSError (gaierror) for a name nobody knows.
        """
        wanted = name.rstrip(".").lower()
        try:
            return _loopback(wanted)
        except ValueError:
            pass  # a name, not an address
        names = self._read()
        for candidate in (wanted, *((wanted + suffix for suffix in SEARCH) if search else ())):
            if candidate in names:
                return _loopback(names[candidate])
        if wanted == "localhost":
            return "127.0.0.1"
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def _read(self) -> dict[str, str]:
        if self._path is None or not self._path.exists():
            return {}
        stat = self._path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if stamp != self._stamp:
            names: dict[str, str] = {}
            for line in self._path.read_text("utf-8").splitlines():
                address, *aliases = line.partition("#")[0].split() or [""]
                for alias in aliases:
                    names.setdefault(alias.lower(), address)
            self._names, self._stamp = names, stamp
        return self._names


class HostsResolver(AbstractResolver):
    """aiohttp's resolver over a HostsFile: `TCPConnector(resolver=HostsResolver(hosts), use_dns_cache=False)`."""

    def __init__(self, hosts: HostsFile) -> None:
        self._hosts = hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            {
                "hostname": host,
                "host": self._hosts.lookup(host),
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        """Nothing is held open."""
