"""The gateway by LiteLLM, the real package: SLIPWAY_LITELLM names its Python (`make litellm` installs it, and `make long` runs this)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tasks.releases.ledger import Ledger
from tests.support.callers import Callers, calling
from tests.support.project import Project, another_environment, edit
from tests.support.workloads import wait

pytestmark = pytest.mark.long

PLACE, AFTER, MODEL, ALIAS = "litellm", "litellm-next", "tiny-llama", "fast"
# requests a second: on two cores that others share, LiteLLM alone takes up to a tenth of a second of each
RATE = 3.0
SLOW = "20s"
PATIENCE = 300.0


@pytest.fixture(scope="module")
def place(project: Project) -> Iterator[Project]:
    """An environment with NGINX, whose gateway has some keys."""
    if not os.environ.get("SLIPWAY_LITELLM"):
        pytest.fail("SLIPWAY_LITELLM names no Python of LiteLLM: make litellm")
    another_environment(project, PLACE)
    # LiteLLM takes tens of seconds of a core to start
    edit(file_of(project, PLACE), {"deadlines": {"gateway": "300s"}, "gateway": {"aliases": {ALIAS: MODEL}}})
    bounds = {"ttft": {"p95": SLOW}, "tpot": {"p95": "5s"}, "e2e": {"p95": SLOW}}
    objectives = bounds | {"each": {"ttft": SLOW, "tpot": "5s"}}
    load = {"rate": RATE, "window": "12s"}
    edit(project.home / "models" / f"{MODEL}.yaml", {"load": load, "objectives": objectives})
    project.run("deploy", MODEL, "-e", PLACE).succeeded()
    yield project
    for name in (AFTER, PLACE):
        if file_of(project, name).exists():
            project.run("teardown", "-e", name, "--models", "delete", "--volumes", "delete").succeeded()


def file_of(project: Project, name: str) -> Any:
    return project.home / "environments" / f"{name}.yaml"


def choose(project: Project, backend: str) -> str:
    """Deploy with this back end; the command's output."""
    edit(file_of(project, PLACE), {"gateway": {"backend": backend}})
    return str(project.run("deploy", MODEL, "-e", PLACE).succeeded().output)


def base_url(project: Project, name: str = PLACE) -> str:
    ledger = Ledger(project.client("s3"), f"slipway-{name}-models", name, MODEL)
    serving = ledger.serving().serving
    assert serving
    return str(ledger.record(serving).endpoint.base_url)


def key_of(project: Project, name: str, *words: str) -> str:
    project.run("keys", "add", name, "-e", PLACE, *words).succeeded()
    return value_of(project, name)


def value_of(project: Project, name: str) -> str:
    return project.run("keys", "show", name, "-e", PLACE).succeeded().output.strip()


def backends(project: Project) -> set[str]:
    """The container names of the gateway's pods."""
    with project.sandbox.api(f"slipway-{PLACE}") as api:
        path = f"/api/v1/namespaces/llm-{PLACE}/pods"
        listed = api.get(path, params={"labelSelector": "app=llm-gateway"}).raise_for_status().json()
    return {pod["spec"]["containers"][0]["name"] for pod in listed["items"]}


def ask(project: Project, key: str | None, model: str = MODEL, base: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"model": model, "prompt": "Hello", "max_tokens": 2}
    return httpx.post(f"{base or base_url(project)}/completions", json=body, headers=headers, timeout=60)


def refused(answer: httpx.Response, status: int, code: str | None) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    assert set(error) == {"message", "type", "param", "code"}


def told(what: str, callers: Callers) -> None:
    """What became of the requests, for whoever reads the test's output."""
    print(f"{what}: {len(callers.answers)} requests, {len(callers.failures)} failed")
    for wrong in callers.failures[:10]:
        print(f"  {wrong}")


@pytest.fixture(scope="module")
def by_litellm(place: Project) -> dict[str, str]:
    """LiteLLM is the gateway, after a switch under load; values of keys by their names."""
    keys = {"team": key_of(place, "team"), "slow": key_of(place, "slow", "--requests-per-minute", "3")}
    keys["elsewhere"] = key_of(place, "elsewhere", "--models", "huge-llama")
    with calling(base_url(place), keys["team"], MODEL, rate=RATE) as callers:
        output = choose(place, "litellm")
    told("NGINX to LiteLLM", callers)
    # NGINX may still let a stream end
    wait(lambda: backends(place) == {"litellm"}, PATIENCE)
    assert not callers.failures
    assert "downtime: every question was answered" in output
    return keys


def test_load_validation_passes_through_litellm(place: Project, by_litellm: dict[str, str]) -> None:
    place.run("validate", MODEL, "-e", PLACE).succeeded()
    counted = metrics(place)
    assert 'slipway_gateway_requests_total{code="200",key="slipway",model="tiny-llama"}' in counted


def metrics(project: Project) -> str:
    """The page that Prometheus reads, of the gateway's pod."""
    with project.sandbox.api(f"slipway-{PLACE}") as api:
        listed = api.get(
            f"/api/v1/namespaces/llm-{PLACE}/pods", params={"labelSelector": "app=llm-gateway"}
        ).json()
    address = listed["items"][-1]["status"]["podIP"]
    return httpx.get(f"http://{address}:9113/metrics", timeout=30).text


def test_names_and_aliases_are_listed_and_answer(place: Project, by_litellm: dict[str, str]) -> None:
    everywhere = base_url(place).replace(f"/{MODEL}/v1", "/v1")
    headers = {"Authorization": f"Bearer {by_litellm['team']}"}
    listed = httpx.get(f"{everywhere}/models", headers=headers, timeout=30).json()
    assert {one["id"] for one in listed["data"]} == {MODEL, ALIAS}
    for name in (MODEL, ALIAS):
        assert ask(place, by_litellm["team"], name, everywhere).status_code == 200


def test_what_is_not_allowed_is_refused_as_openai_does(place: Project, by_litellm: dict[str, str]) -> None:
    refused(ask(place, by_litellm["team"], "no-such"), 404, "model_not_found")
    refused(ask(place, by_litellm["elsewhere"]), 403, "model_not_found")
    refused(ask(place, "sk-nobodys"), 401, "invalid_api_key")
    refused(ask(place, None), 401, None)
    everywhere = base_url(place).replace(f"/{MODEL}/v1", "")
    for path in ("/key/list", "/model/info", "/ui/", "/metrics"):
        headers = {"Authorization": f"Bearer {by_litellm['team']}"}
        assert httpx.get(f"{everywhere}{path}", headers=headers, timeout=30).status_code == 404


def test_a_key_over_its_limit_waits(place: Project, by_litellm: dict[str, str]) -> None:
    answers = [ask(place, by_litellm["slow"]) for _ in range(5)]
    assert [one.status_code for one in answers] == [200] * 3 + [429] * 2
    assert int(answers[-1].headers["Retry-After"]) > 0
    refused(answers[-1], 429, "429")


def test_a_stream_comes_as_it_is_made(place: Project, by_litellm: dict[str, str]) -> None:
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 400, "stream": True, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {by_litellm['team']}"}
    url, seen = f"{base_url(place)}/completions", []
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
        seen += [
            (time.monotonic(), json.loads(line[6:]))
            for line in answer.iter_lines()
            if line.startswith("data: {")
        ]
    tokens = [at for at, event in seen if any(choice.get("text") for choice in event["choices"])]
    assert len(tokens) > 100
    # 4 ms a token: in one piece the last would come with the first
    assert tokens[-1] - tokens[0] > 0.5


def test_a_rotation_under_load_refuses_no_request(place: Project, by_litellm: dict[str, str]) -> None:
    old = by_litellm["team"]
    with calling(base_url(place), old, MODEL, rate=RATE) as callers:
        place.run("keys", "rotate", "team", "-e", PLACE, "--overlap", "4m").succeeded()
        new = value_of(place, "team")
        assert ask(place, new).status_code == 200
    told("rotation", callers)
    assert not callers.failures
    # LiteLLM's own clock ends the overlap: nothing is rolled out for it
    wait(lambda: ask(place, old).status_code == 401, PATIENCE)
    assert ask(place, new).status_code == 200
    by_litellm["team"] = new


def test_a_promotion_goes_through_litellm_too(place: Project, by_litellm: dict[str, str]) -> None:
    document = yaml.safe_load(file_of(place, PLACE).read_text())
    document |= {"name": AFTER, "namespace": f"llm-{AFTER}", "promote_from": PLACE}
    document["cluster"] |= {"name": f"slipway-{AFTER}", "vpc_cidr": "10.2.0.0/16"}
    document["storage"] |= {f"{one}_bucket": f"slipway-{AFTER}-{one}" for one in ("model", "state")}
    document["storage"]["model_bucket"] += "s"
    document["gateway"]["port"] += 1
    file_of(place, AFTER).write_text(yaml.safe_dump(document))
    place.run("promote", MODEL, "-e", AFTER, "--yes").succeeded()
    assert base_url(place, AFTER).endswith(f"/{MODEL}/v1")


def test_a_model_that_may_sleep_is_refused_before_anything_moves(
    place: Project, by_litellm: dict[str, str]
) -> None:
    tiny = place.home / "models" / f"{MODEL}.yaml"
    before = tiny.read_text()
    try:
        edit(tiny, {"scaling": {"scale_to_zero": True}})
        done = place.run("deploy", MODEL, "-e", PLACE)
    finally:
        tiny.write_text(before)
    assert done.code != 0
    assert "LiteLLM holds no request for a model that sleeps" in done.output


def test_the_way_back_to_nginx_fails_no_request(place: Project, by_litellm: dict[str, str]) -> None:
    with calling(base_url(place), by_litellm["team"], MODEL, rate=RATE) as callers:
        choose(place, "nginx")
    told("LiteLLM to NGINX", callers)
    wait(lambda: backends(place) == {"nginx"}, PATIENCE)
    assert not callers.failures
