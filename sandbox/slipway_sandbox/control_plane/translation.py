"""Addresses as our nodes use them, and as a real API server takes them.

Pods and kubelets listen on 127.N.x.y. A real API server refuses loopback addresses in EndpointSlices ("may not be in
the loopback range"), so there they are called 198.18.x.y: a range for benchmarks that is never routed (RFC 2544).
The front door puts one for the other, as a NAT does, wherever a JSON string begins with one.
"""

from __future__ import annotations

ABROAD = b'"198.18.'


class Translation:
    """Between `network` (127.N) at home and 198.18 abroad, on the bytes of JSON bodies."""

    def __init__(self, network: str) -> None:
        self._home = f'"{network}.'.encode()

    def to_abroad(self, body: bytes) -> bytes:
        return body.replace(self._home, ABROAD)

    def to_home(self, body: bytes) -> bytes:
        return body.replace(ABROAD, self._home)


class HomeStream:
    """`to_home` over a body that comes in pieces: what may be a cut address is held back until the next piece."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        data = self._held + chunk
        cut = next((n for n in range(len(ABROAD) - 1, 0, -1) if data.endswith(ABROAD[:n])), 0)
        self._held = data[len(data) - cut :] if cut else b""
        return self._translation.to_home(data[: len(data) - cut])

    def end(self) -> bytes:
        held, self._held = self._held, b""
        return held
