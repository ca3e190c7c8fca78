"""Several models behind one address: the body's `model` says which, by name or alias, while others come and go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest

from tasks.cloud import objects
from tasks.records.errors import InputError
from tasks.records.names import OWN_KEY_SECRET
from tasks.rollout import restore
from tests.support.callers import calling
from tests.support.upgrades import Upgrades, all_answered
from tests.support.workloads import NAMESPACE, wait

pytestmark = pytest.mark.timeout(300)
ALIASES = ["fast", "Org/Small:1"]


class Address(NamedTuple):
    """The gateway, and the models behind it."""

    url: str
    key: str
    first: str
    second: str

    def post(self, route: str, body: Any, key: str | None = None) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        return httpx.post(f"{self.url}/v1/{route}", content=content, headers=headers, timeout=60)

    def completes(self, model: str, **more: Any) -> httpx.Response:
        return self.post("completions", {"prompt": "Hello", "max_tokens": 2, **more, "model": model})

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {self.key}"}, timeout=30)
        return answer.json()


@pytest.fixture(scope="module")
def address(one: Upgrades, make: Callable[..., Upgrades]) -> Address:
    """A model that serves, and a second one that comes while the first is under load, asked for by name."""
    record = one.roll_out()
    assert record.rollout
    url = record.rollout.endpoint.base_url.removesuffix(f"/{one.name}/v1")
    key = objects.read_key(one.api, NAMESPACE, OWN_KEY_SECRET)
    with calling(f"{url}/v1", key, one.name) as callers:
        second = make(aliases=ALIASES)
        second.roll_out()
    all_answered(callers)
    return Address(url, key, one.name, second.name)


def test_a_request_goes_to_the_model_of_its_body_by_name_and_by_alias(address: Address) -> None:
    for name, serves in (
        (address.first, address.first),
        (address.second, address.second),
        *((alias, address.second) for alias in ALIASES),
    ):
        answer = address.completes(name)
        assert (answer.status_code, answer.json()["model"]) == (200, serves)
    chat = {"model": "fast", "messages": [{"role": "user", "content": 'a "model": "fast"'}], "max_tokens": 2}
    assert address.post("chat/completions", chat).json()["model"] == address.second
    by_path = address.post(f"../{address.first}/v1/completions", {"model": address.first, "prompt": "Hello"})
    assert by_path.status_code == 200


def test_a_name_nobody_serves_is_refused_as_openai_does(address: Address) -> None:
    answer = address.completes("gpt-4o")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "invalid_request_error",
        "model_not_found",
        None,
    )
    assert "`gpt-4o`" in error["message"]
    for body in (b'{"model": ', b'{"prompt": "Hello"}', b"[]", b""):
        wrong = address.post("completions", body)
        assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")
    assert address.post("completions", {"model": address.first}, key="sk-nobodys").status_code == 401


def test_the_list_has_every_name_and_alias(address: Address) -> None:
    listed = address.get("/v1/models")
    roots = {one["id"]: one["root"] for one in listed["data"]}
    assert (
        roots.items()
        >= {
            address.first: address.first,
            address.second: address.second,
            "fast": address.second,
        }.items()
    )
    assert {one["object"] for one in listed["data"]} == {"model"}
    assert address.get("/v1/models/Org/Small:1")["root"] == address.second


def test_bodies_pass_up_to_16_mib_and_no_further(address: Address) -> None:
    for name in (address.first, "fast"):
        assert address.completes(name, user="x" * (16 * 2**20 - 4096)).status_code == 200
    assert address.completes(address.first, user="x" * (16 * 2**20)).status_code == 413


def test_a_stream_comes_token_by_token(address: Address) -> None:
    body = {"model": "fast", "prompt": "Hello", "max_tokens": 200, "stream": True, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {address.key}"}
    began = time.monotonic()
    with httpx.stream(
        "POST", f"{address.url}/v1/completions", json=body, headers=headers, timeout=60
    ) as answer:
        came = [time.monotonic() - began for _ in answer.iter_raw()]
    assert len(came) > 20
    assert came[0] < came[-1] / 2


def test_requests_are_counted_by_model_key_and_status(address: Address, one: Upgrades) -> None:
    def counted(code: int) -> float:
        pods = one.api.list("v1", "Pod", NAMESPACE, label_selector="app=llm-gateway")
        pages = [
            httpx.get(f"http://{pod['status']['podIP']}:9113/metrics", timeout=30).text
            for pod in objects.staying(pods)
        ]
        start = f'slipway_gateway_requests_total{{model="{address.second}",key="'
        lines = [line for page in pages for line in page.splitlines() if line.startswith(start)]
        return sum(float(line.split()[-1]) for line in lines if f'code="{code}"' in line)

    before, refused = counted(200), counted(400)
    assert address.completes("fast").status_code == 200
    assert address.completes("fast", max_tokens=-1).status_code == 400
    # counted where its line of the log is written, which may be after the client has its answer
    wait(lambda: (counted(200), counted(400)) == (before + 1, refused + 1))


def test_an_alias_that_leads_elsewhere_is_refused_with_nothing_moved(address: Address, one: Upgrades) -> None:
    before = (one.applied(), one.ledger.serving())
    model = one.a_release(aliases=["fast"])
    with pytest.raises(InputError, match=f"fast leads to {address.second}"):
        one.start(model)
    assert restore.undo(one.context, model) is None
    assert (one.applied(), one.ledger.serving()) == before
