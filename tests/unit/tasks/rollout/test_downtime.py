from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tasks.rollout.downtime import Downtime, Poll
from tests.support.clock import until
from tests.support.loopback import free_port

KEY = "sk-test"


def seen(*answers: tuple[float, bool]) -> Downtime:
    """Each question takes a tenth of a second."""
    gap = Downtime()
    for at, ok in answers:
        gap.saw(at, at + 0.1, ok=ok)
    return gap


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        ([(0, True), (1, True)], 0.0),
        ([(0, True), (1, False), (2, True)], 2.1),  # from the last answer to the next
        ([(0, True), (1, False), (2, False), (5, True), (6, True)], 5.1),
        ([(0, True), (1, False), (2, True), (3, False), (4, True)], 2.1 + 2.1),
        ([(0, False), (1, True), (2, True)], 0.0),  # before it answered, nothing was lost
        ([(0, True), (9, False)], 10.0),  # it has not ended
        ([(0, False), (1, False)], None),
        ([], None),
    ],
)
def test_a_gap_lasts_from_one_answer_to_the_next(
    answers: list[tuple[float, bool]], seconds: float | None
) -> None:
    found = seen(*answers).until(10.0)
    assert found == (pytest.approx(seconds) if seconds is not None else None)


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            known = self.headers.get("Authorization") == f"Bearer {KEY}"
            self.send_response(self.server.status if known else 401)  # type: ignore[attr-defined]
            self.end_headers()
            self.server.asked += 1  # type: ignore[attr-defined]

        def log_message(self, format: str, *args: Any) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.status, made.asked = 200, 0  # type: ignore[attr-defined]
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_an_endpoint_that_answers_throughout_has_no_gap(server: Any) -> None:
    watch = Poll(f"http://127.0.0.1:{server.server_port}/x/v1", KEY, "x", "completions")
    until(lambda: server.asked >= 3)
    assert watch.stop() == 0.0


def test_an_answer_that_is_none_is_a_gap(server: Any) -> None:
    watch = Poll(f"http://127.0.0.1:{server.server_port}/x/v1", KEY, "x", "completions")
    until(lambda: server.asked >= 1)
    server.status = 502
    until(lambda: server.asked >= 4)
    server.status = 200
    until(lambda: server.asked >= 6)
    measured = watch.stop()
    assert measured is not None
    assert measured >= 0.5


def test_nobody_there_from_the_beginning_is_no_gap() -> None:
    watch = Poll(f"http://127.0.0.1:{free_port()}/x/v1", KEY, "x", "completions")
    assert watch.stop() is None
