"""A page in headless Chromium, by the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.support.workloads import wait
from tools.pictures.browser import chromium


class Page:
    """One page; `run` evaluates JavaScript in it."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._asked = connection, 0

    def run(self, expression: str) -> Any:
        """The value of an expression, None where it has none."""
        self._asked += 1
        parameters = {"expression": expression, "returnByValue": True}
        message = {"id": self._asked, "method": "Runtime.evaluate", "params": parameters}
        self._connection.send(json.dumps(message))
        while True:
            answer = json.loads(self._connection.recv(timeout=30))
            if answer.get("id") == self._asked:
                return answer["result"]["result"].get("value")


@contextmanager
def opened(address: str, folder: Path) -> Iterator[Page]:
    """Chromium with this page, until the block ends. `folder`: its own. Raises FileNotFoundError without Chromium."""
    log = folder / "chromium.log"
    words = [chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*words, f"--user-data-dir={folder / 'profile'}", address], stdout=said, stderr=said
        )
        try:
            wait(lambda: re.search(r"ws://127\.0\.0\.1:(\d+)/", log.read_text()) is not None)
            (port,) = re.findall(r"ws://127\.0\.0\.1:(\d+)/", log.read_text())[:1]
            wait(lambda: bool(_pages(port)))
            with connect(_pages(port)[0]["webSocketDebuggerUrl"], max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.wait(30)


def _pages(port: str) -> list[dict[str, Any]]:
    listed = httpx.get(f"http://127.0.0.1:{port}/json", timeout=10, trust_env=False).json()
    return [each for each in listed if each["type"] == "page"]
