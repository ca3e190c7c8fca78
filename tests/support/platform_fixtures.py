"""A Prefect server and a worker for a session, with stand-ins for the tasks of deploy and rollback: pytest fixtures."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support import postgres
from tests.support.platform import Platform


@dataclass
class Webhook:
    """What was posted to it."""

    url: str
    heard: list[dict[str, Any]]


@pytest.fixture(scope="session")
def webhook() -> Iterator[Webhook]:
    heard: list[dict[str, Any]] = []

    class Hears(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told = json.loads(text)
            heard.append(json.loads(told) if isinstance(told, str) else told)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *of: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hears) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Webhook(f"http://127.0.0.1:{server.server_port}/", heard)
        server.shutdown()


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """Prefect's: SQLite, or with DATABASE=postgres in the environment a Postgres of the session."""
    if os.environ.get("DATABASE", "sqlite") == "sqlite":
        yield ""
        return
    with postgres.running() as url:
        yield url


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook, database: str) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("platform"), database=database)
    platform.world.make()
    platform.lay_out()
    platform.start_server()
    try:
        applied = platform.slipway("prefect", "apply", "-e", "sandbox", "--webhook", webhook.url)
        assert applied.end() == 0, applied.output
        platform.only_stand_ins()
        platform.start_worker()
        yield platform
    finally:
        platform.end()


@pytest.fixture
def platform(started: Platform) -> Iterator[Platform]:
    """The platform with nothing deployed and no run under way."""
    shutil.rmtree(started.world.folder)
    started.world.make()
    yield started
    started.world.let_go()
    started.settled()
