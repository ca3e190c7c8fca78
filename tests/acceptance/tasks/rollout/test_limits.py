"""Limits of keys, enforced by the gateway's real configuration on a real NGINX."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.loopback import free_port
from tests.support.nginx import MODEL, an_entry, lay_out, running

LIMIT = 40
ASKED = 120
KEYS = {
    "sk-limited": an_entry("limited", perMinute=LIMIT),
    "sk-again": an_entry("again", perMinute=LIMIT),
    "sk-free": an_entry("free"),
}
WAYS = (f"/{MODEL}/v1/completions", "/v1/completions")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("nginx")
    port = free_port()
    with running(folder, lay_out(folder, port, free_port(), KEYS), port):
        yield f"http://127.0.0.1:{port}"


def asked_at_once(gateway: str, key: str, times: int) -> list[httpx.Response]:
    """Answers to requests by both ways, eight at a time over as many connections: every worker of NGINX gets some."""
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:

        def ask(index: int) -> httpx.Response:
            return client.post(f"{gateway}{WAYS[index % len(WAYS)]}", json={"model": MODEL})

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(ask, range(times)))


def test_a_key_gets_its_limit_and_a_key_without_one_gets_all_it_asks(gateway: str) -> None:
    limited = asked_at_once(gateway, "sk-limited", ASKED)
    free = asked_at_once(gateway, "sk-free", ASKED)
    assert {answer.status_code for answer in free} == {200}
    let_in = [answer for answer in limited if answer.status_code == 200]
    refused = [answer for answer in limited if answer.status_code == 429]
    assert len(let_in) + len(refused) == ASKED
    # the minute may end while they are sent: the next one lets in by how much of it has passed
    assert LIMIT <= len(let_in) < 2 * LIMIT


def test_a_refusal_is_openais_and_says_when_to_ask_again(gateway: str) -> None:
    refused = next(
        answer for answer in asked_at_once(gateway, "sk-again", ASKED) if answer.status_code == 429
    )
    error = refused.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
    assert refused.headers["Content-Type"] == "application/json"
    # until the next minute, and then until enough of this one has left the window
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    assert f"in {refused.headers['Retry-After']}s" in error["message"]
    let_in = httpx.post(
        f"{gateway}{WAYS[0]}", json={"model": MODEL}, headers={"Authorization": "Bearer sk-free"}
    )
    assert "Retry-After" not in let_in.headers


def test_only_what_asks_a_model_is_counted(gateway: str) -> None:
    with httpx.Client(headers={"Authorization": "Bearer sk-again"}) as client:
        listed = {client.get(f"{gateway}/v1/models").status_code for _ in range(2 * LIMIT)}
    assert listed == {200}
