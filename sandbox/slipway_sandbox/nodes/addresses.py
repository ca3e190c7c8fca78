"""The loopback addresses of one sandbox: pods, load balancers and kubelets each from their own block."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address


class Block(Enum):
    """First and last value of the third octet; see `Settings` for the layout."""

    PODS = (1, 99)
    SERVICES = (100, 199)
    LOAD_BALANCERS = (200, 250)
    KUBELETS = (251, 254)


class AddressesExhausted(RuntimeError):
    """Every address of a block is taken."""


class AddressPool:
    """Hands out `{network}.x.y`. A freed address is used again only after all others, as a late client may still call it."""

    def __init__(self, network: str) -> None:
        self.network = network
        self._taken: set[str] = set()
        self._next: dict[Block, int] = {}

    def take(self, block: Block, wanted: str | None = None) -> str:
        """A free address; `wanted` is given when it is free and of this block. Raises AddressesExhausted."""
        first = int(IPv4Address(f"{self.network}.{block.value[0]}.0"))
        size = (block.value[1] - block.value[0] + 1) * 256
        if wanted and wanted not in self._taken and 0 <= int(IPv4Address(wanted)) - first < size:
            self._taken.add(wanted)
            return wanted
        start = self._next.get(block, 0)
        for step in range(size):
            offset = (start + step) % size
            address = str(IPv4Address(first + offset))
            if offset % 256 not in (0, 255) and address not in self._taken:
                self._taken.add(address)
                self._next[block] = offset + 1
                return address
        raise AddressesExhausted(f"no address is left in {self.network}, block {block.name}")

    def release(self, address: str) -> None:
        self._taken.discard(address)


_pools: dict[str, AddressPool] = {}


def pool_of(network: str) -> AddressPool:
    """The pool of a network: one per process, as all clusters of a sandbox share its addresses."""
    return _pools.setdefault(network, AddressPool(network))
