"""nginx's error and access logs. /var/log/nginx/* are the image's links to stdout and stderr."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final, TextIO

STANDARD: Final = {
    "/dev/stdout": 1,
    "/var/log/nginx/access.log": 1,
    "/dev/stderr": 2,
    "/var/log/nginx/error.log": 2,
}


class LogFiles:
    """Log files by their path in the configuration, opened once."""

    def __init__(self) -> None:
        self._open: dict[str, TextIO] = {}

    def write(self, path: str, line: str) -> None:
        """One line. Raises OSError where a path cannot be opened."""
        if path == "stderr" or STANDARD.get(path) == 2:
            print(line, file=sys.stderr, flush=True)
        elif path in STANDARD:
            print(line, flush=True)
        else:
            if path not in self._open:
                self._open[path] = Path(path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115  (kept open)
            self._open[path].write(line + "\n")

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()


def record(level: str, message: str) -> str:
    """`2026/11/21 03:56:29 [error] 7#7: message`."""
    return f"{time.strftime('%Y/%m/%d %H:%M:%S')} [{level}] {os.getpid()}#{os.getpid()}: {message}"
