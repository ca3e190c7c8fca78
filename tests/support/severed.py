"""A way to a server on loopback that a test can cut: its connections are reset, and new ones are refused."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

CHUNK = 65536


class Way:
    """Listens on `port` and passes bytes to 127.0.0.1:`to` and back, until it is cut."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """End the listener and every connection."""
        for one in (self._listener, *self._open):
            # closing alone leaves a thread in accept or recv
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for start, end in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(start, end), daemon=True).start()


def _pass_on(start: socket.socket, end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := start.recv(CHUNK):
            end.sendall(data)
        end.shutdown(socket.SHUT_WR)
