"""What a request's trace is after the gateway's real configuration on a real NGINX."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from tasks.records.tracing import Tracing
from tests.support.loopback import free_port
from tests.support.nginx import MODEL, an_entry, lay_out, running

COLLECTOR = {"endpoint": "http://otel:4317", "namespace": "observability", "pod_labels": {"app": "otel"}}
GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
ASKED = 200


@pytest.fixture(scope="module", params=[None, 0.0, 0.5, 1.0])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, float | None]]:
    folder, port, sampled = tmp_path_factory.mktemp("nginx"), free_port(), request.param
    tracing = None if sampled is None else Tracing.model_validate({**COLLECTOR, "sampled": sampled})
    with running(folder, lay_out(folder, port, free_port(), {"sk-a": an_entry("a")}, tracing), port):
        yield f"http://127.0.0.1:{port}", sampled


def asked(gateway: str, path: str, times: int = 1, **headers: str) -> list[str]:
    """The `traceparent` that the engine was sent with each request."""
    found = []
    with httpx.Client(base_url=gateway, headers={"Authorization": "Bearer sk-a", **headers}) as client:
        for _ in range(times):
            answer = client.post(path, json={"model": MODEL})
            assert answer.status_code == 200, answer.text
            found.append(str(answer.headers.get("traceparent", "")))
    return found


@pytest.mark.parametrize("path", [f"/{MODEL}/v1/completions", "/v1/completions"])
def test_a_trace_that_a_client_began_goes_on(gateway: tuple[str, float | None], path: str) -> None:
    assert asked(gateway[0], path, traceparent=GIVEN) == [GIVEN]


def test_a_request_without_a_trace_begins_one_and_a_share_of_them_is_sampled(
    gateway: tuple[str, float | None],
) -> None:
    address, sampled = gateway
    found = asked(address, "/v1/completions", ASKED)
    if sampled is None:
        assert set(found) == {""}
        return
    traces = [re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])", one) for one in found]
    assert all(traces)
    assert len({one[1] for one in traces if one}) == ASKED
    share = sum(one[3] == "01" for one in traces if one) / ASKED
    # of 200 at one half, fewer than 60 or more than 140 come once in 10^8 runs
    assert share == sampled if sampled in (0.0, 1.0) else 0.3 < share < 0.7
