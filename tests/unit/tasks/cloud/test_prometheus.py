from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from tasks.cloud.prometheus import Prometheus, prometheus_of
from tasks.records.errors import MetricsUnavailable
from tests.support.builders import an_environment
from tests.support.loopback import free_port

Answer = tuple[int, str]
Serve = Callable[[Answer], Prometheus]


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def serve(asked: list[str]) -> Iterator[Serve]:
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> Prometheus:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(parse_qs(urlparse(self.path).query)["query"][0])
                self.send_response(answer[0])
                self.end_headers()
                self.wfile.write(answer[1].encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        return prometheus_of(an_environment(prometheus_url=url), None)  # type: ignore[arg-type]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def success(kind: str, result: list[dict[str, Any]]) -> Answer:
    return 200, json.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


def test_raw_samples_are_read_oldest_first_with_their_labels(serve: Serve, asked: list[str]) -> None:
    prometheus = serve(success("matrix", [{"metric": {"pod": "a"}, "values": [[1.5, "2"], [2.5, "3"]]}]))
    (series,) = prometheus.series('up{pod="a"}', 1200.0)
    assert asked == ['up{pod="a"}[1200s]']
    assert (dict(series.labels), series.samples) == ({"pod": "a"}, ((1.5, 2.0), (2.5, 3.0)))


def test_an_instant_query_gives_one_sample_each(serve: Serve) -> None:
    (series,) = serve(success("vector", [{"metric": {}, "value": [7, "1"]}])).instant("up")
    assert series.samples == ((7.0, 1.0),)


def test_no_series_is_an_empty_answer_and_no_failure(serve: Serve) -> None:
    assert serve(success("vector", [])).instant("nothing") == []


@pytest.mark.parametrize(
    "answer",
    [
        (200, '{"status": "error", "errorType": "bad_data", "error": "parse error"}'),
        (400, '{"status": "error", "error": "parse error"}'),
        (503, "no backend"),
        (200, "<html>a login page</html>"),
        success("scalar", []),
    ],
)
def test_anything_but_an_answer_is_metrics_unavailable(serve: Serve, answer: Answer) -> None:
    with pytest.raises(MetricsUnavailable):
        serve(answer).instant("up")


def test_what_prometheus_says_of_a_refusal_is_shown(serve: Serve) -> None:
    with pytest.raises(MetricsUnavailable) as failed:
        serve((422, '{"status": "error", "error": "too many samples"}')).instant("up")
    assert "answered 422" in failed.value.evidence[-2]
    assert "too many samples" in failed.value.evidence[-1]


def test_nobody_listening_is_metrics_unavailable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(MetricsUnavailable, match="does not answer"):
        prometheus_of(an_environment(prometheus_url=url), None).instant("up")  # type: ignore[arg-type]
