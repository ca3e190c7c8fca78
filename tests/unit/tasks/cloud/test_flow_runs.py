"""Runs and events by Prefect's API, as prefect 3.8.8 takes and answers them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from prefect.server.events.schemas.events import Event
from pydantic import TypeAdapter

from tasks.cloud.flow_runs import FlowRuns, Run, basic
from tasks.records.errors import PrefectUnavailable

PREFECT = FlowRuns("http://prefect:4200/api/", basic("admin:word"))


class Server:
    """Answers of Prefect's API; what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run: dict[str, Any] = {"id": "r1", "state_type": "CANCELLED", "start_time": None}
        self.status = 201
        self.asked: list[tuple[str, str | None, Any]] = []
        client = httpx.Client
        monkeypatch.setattr(
            "tasks.cloud.flow_runs.httpx.Client",
            lambda **given: client(transport=httpx.MockTransport(self.answer), **given),
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.url.path, request.headers.get("authorization"), body))
        if request.method == "GET":
            return httpx.Response(200, json={"id": "d1"})
        return httpx.Response(self.status, json=self.run)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


@pytest.mark.parametrize(("start_time", "began"), [(None, False), ("2026-11-30T19:00:00Z", True)])
def test_a_run_that_a_limit_cancelled_never_began(
    server: Server, start_time: str | None, began: bool
) -> None:
    server.run["start_time"] = start_time
    asked = {"environment": "staging", "model": "tiny"}
    assert PREFECT.start("slipway-watch", "staging", asked, "key", "x") == Run("CANCELLED", began)
    assert [path for path, _, _ in server.asked] == [
        "/api/deployments/name/slipway-watch/staging",
        "/api/deployments/d1/create_flow_run",
    ]
    assert server.asked[1][2] == {"parameters": asked, "idempotency_key": "key"}


def test_an_event_is_one_that_the_server_takes(server: Server) -> None:
    PREFECT.emit("slipway.webhook.forged", {"prefect.resource.id": "slipway.environment.x"}, {"requests": 2})
    ((path, authorization, body),) = server.asked
    (event,) = TypeAdapter(list[Event]).validate_python(body)
    assert (path, authorization) == ("/api/events", "Basic YWRtaW46d29yZA==")
    assert (event.event, event.resource.id, event.payload) == (
        "slipway.webhook.forged",
        "slipway.environment.x",
        {"requests": 2},
    )


def test_a_server_that_refuses_is_an_error_of_the_tree(server: Server) -> None:
    server.status = 503
    with pytest.raises(PrefectUnavailable, match="could not be asked for"):
        PREFECT.start("slipway-watch", "staging", {}, "key", "slipway watch")
    with pytest.raises(PrefectUnavailable, match="could not be told"):
        PREFECT.emit("x", {"prefect.resource.id": "y"}, {})


def test_something_else_that_answers_there_is_an_error_of_the_tree(server: Server) -> None:
    server.run = {"detail": "hello"}
    with pytest.raises(PrefectUnavailable):
        PREFECT.start("slipway-watch", "staging", {}, "key", "slipway watch")


def test_without_authentication_there_is_no_header() -> None:
    assert basic(None) is None
    assert basic("") is None
