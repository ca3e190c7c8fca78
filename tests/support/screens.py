"""A pseudo-terminal, and what was written to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
import threading
import time
from collections.abc import Callable

# of a terminal that moves its cursor
TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}


class Screen:
    """A pseudo-terminal of 30 rows of 120 columns. `theirs`: the end that a program writes to."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        self.raw = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # nobody has the other end any more, or ours was closed
            while data := os.read(self.ours, 65536):
                self.raw += data.decode(errors="replace")

    @property
    def text(self) -> str:
        """All that was drawn, one after the other, without the control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)

    def until(self, what: str, patience: float = 30.0) -> None:
        until(lambda: what in self.text, lambda: f"no {what!r} in {self.text!r}", patience)

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def hang_up(self) -> None:
        """Close the terminal's window, as the one that reads it does."""
        ours, self.ours = self.ours, -1
        if ours >= 0:
            os.close(ours)


def until(true: Callable[[], bool], otherwise: Callable[[], str], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)
