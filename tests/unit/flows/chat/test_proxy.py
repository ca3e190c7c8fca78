"""The chat page's proxy: who may ask it, what it passes on, and where the key goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from flows.chat.proxy import LONGEST, MOST_TOKENS, Upstream, application, secret_word

KEY, WORD = "sk-of-the-gateway", "a-word"
UPSTREAM = Upstream("http://gateway/llama/v1", KEY, "llama", "staging")
ASKED = {"messages": [{"role": "user", "content": "Hello"}]}


class Gateway:
    """Answers a chat as a stream, and keeps what it was sent."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.seen: list[tuple[str, dict[str, str], Any]] = []

    async def chat(self, request: Request) -> Response:
        self.seen.append((request.url.path, dict(request.headers), json.loads(await request.body())))
        if self.status != 200:
            return JSONResponse({"error": {"message": "no replica"}}, status_code=self.status)

        async def pieces() -> AsyncIterator[bytes]:
            for word in ("Hi", " there"):
                yield b'data: {"choices": [{"delta": {"content": "' + word.encode() + b'"}}]}\n\n'
            yield b"data: [DONE]\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")


def asked(
    gateway: Gateway, method: str, path: str, *, host: str = "127.0.0.1:8000", **more: Any
) -> httpx.Response:
    async def ask() -> httpx.Response:
        app = application(UPSTREAM, WORD)
        behind = Starlette(routes=[Route("/llama/v1/chat/completions", gateway.chat, methods=["POST"])])
        async with (
            httpx.AsyncClient(transport=httpx.ASGITransport(app=behind)) as client,
            httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as browser,
        ):
            app.state.client = client
            return await browser.request(method, f"http://{host}{path}", **more)

    return asyncio.run(ask())


def test_the_page_has_the_models_name_and_no_key() -> None:
    page = asked(Gateway(), "GET", f"/{WORD}/")
    assert page.status_code == 200
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    told = asked(Gateway(), "GET", f"/{WORD}/model")
    assert told.json() == {"model": "llama", "environment": "staging"}
    assert KEY not in page.text + told.text


def test_a_chat_is_passed_on_with_the_key_and_its_answer_comes_as_a_stream() -> None:
    gateway = Gateway()
    answer = asked(gateway, "POST", f"/{WORD}/chat", json={**ASKED, "model": "another", "n": 50})
    assert answer.text.endswith("data: [DONE]\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    ((path, headers, body),) = gateway.seen
    assert path == "/llama/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    # nothing but the messages is the page's
    assert body == {**ASKED, "model": "llama", "stream": True, "max_tokens": MOST_TOKENS}
    assert KEY not in answer.text + str(answer.headers)


@pytest.mark.parametrize("path", ["/", "/model", "/chat", "/another-word/", "/another-word/chat"])
def test_who_does_not_know_the_word_is_told_nothing(path: str) -> None:
    gateway = Gateway()
    method = "POST" if path.endswith("chat") else "GET"
    assert asked(gateway, method, path, json=ASKED).status_code == 404
    assert not gateway.seen


def test_a_name_that_was_bound_to_loopback_is_refused() -> None:
    gateway = Gateway()
    answer = asked(gateway, "POST", f"/{WORD}/chat", host="evil.example", json=ASKED)
    assert answer.status_code == 400
    assert not gateway.seen


@pytest.mark.parametrize(
    ("content", "status"), [(b"{", 400), (b"[]", 400), (b"{}", 400), (b"x" * (LONGEST + 1), 413)]
)
def test_a_body_that_is_none_or_too_long_is_not_passed_on(content: bytes, status: int) -> None:
    gateway = Gateway()
    assert asked(gateway, "POST", f"/{WORD}/chat", content=content).status_code == status
    assert not gateway.seen


def test_an_error_of_the_gateway_reaches_the_page_with_its_status() -> None:
    answer = asked(Gateway(503), "POST", f"/{WORD}/chat", json=ASKED)
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "no replica")


def test_each_page_has_a_word_of_its_own() -> None:
    words = {secret_word() for _ in range(100)}
    assert len(words) == 100
    assert min(map(len, words)) >= 32
