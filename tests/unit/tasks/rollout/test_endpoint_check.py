"""The gate's questions against a real HTTP server."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.cloud.plain_http import at_url
from tasks.cloud.waiting import Time
from tasks.records.errors import RolloutFailed
from tasks.rollout.endpoint_check import (
    GatewayCutOff,
    GatewayUnreached,
    Proving,
    check_endpoint,
    main,
    read_answer,
)
from tests.support.clock import Clock
from tests.support.loopback import free_port

KEY = "sk-test"
MODELS = json.dumps({"object": "list", "data": [{"id": "tiny"}]})
COMPLETION = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}]}
)
Answer = tuple[int, str]
GOOD: dict[str, Answer] = {"shut": (401, "no key"), "models": (200, MODELS), "chat": (200, COMPLETION)}
Serve = Callable[..., str]


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def serve(asked: list[str]) -> Iterator[Serve]:
    """A gateway that answers `answers`; each may be a list, used up one by one to its last."""
    servers: list[ThreadingHTTPServer] = []

    def start(**over: Any) -> str:
        answers: dict[str, Any] = GOOD | over

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self.answer("models" if self.headers.get("Authorization") == f"Bearer {KEY}" else "shut")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer("chat")

            def answer(self, what: str) -> None:
                asked.append(what)
                found = answers[what]
                if isinstance(found, list):
                    found = found.pop(0) if len(found) > 1 else found[0]
                body = found[1].encode()
                self.send_response(found[0])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/tiny/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check(url: str, clock: Clock) -> str:
    return check_endpoint(url, KEY, "tiny", patience=3.0, time=Time(clock, clock.sleep))


def test_a_good_endpoint_gives_its_completion(serve: Serve, clock: Clock, asked: list[str]) -> None:
    assert check(serve(), clock) == "Hi"
    assert asked == ["shut", "models", "chat"]
    assert clock.now == 1000.0


def test_a_door_that_is_open_without_a_key_is_final(serve: Serve, clock: Clock) -> None:
    with pytest.raises(RolloutFailed, match="answers 200 to a request without a key"):
        check(serve(shut=(200, MODELS)), clock)
    assert clock.now == 1000.0


def test_another_served_name_is_final(serve: Serve, clock: Clock) -> None:
    with pytest.raises(RolloutFailed, match="serves another name than tiny") as caught:
        check(serve(models=(200, MODELS.replace("tiny", "other"))), clock)
    assert caught.value.evidence == ("/v1/models lists other",)
    assert clock.now == 1000.0


# LiteLLM 1.108.7 of a Service that nobody answers behind
NOT_REACHED = """{"error": {"message": "litellm.InternalServerError: InternalServerError: OpenAIException - Connection error."}}"""


@pytest.mark.parametrize("answer", [(503, "no upstream"), (500, NOT_REACHED)])
def test_a_gateway_that_lists_names_may_still_not_reach_vllm(
    serve: Serve, answer: Answer, clock: Clock
) -> None:
    with pytest.raises(GatewayCutOff, match=f"does not reach vLLM: it answers {answer[0]}"):
        check(serve(chat=answer), clock)


@pytest.mark.parametrize("what", ["shut", "models", "chat"])
@pytest.mark.parametrize("status", [500, 502, 503, 404])
def test_a_failing_answer_is_asked_again_until_patience_ends(
    serve: Serve, clock: Clock, what: str, status: int
) -> None:
    with pytest.raises(RolloutFailed, match=str(status)):
        check(serve(**{what: (status, "bad gateway")}), clock)
    assert 1003.0 <= clock.now < 1003.5


@pytest.mark.parametrize("what", ["shut", "models", "chat"])
def test_routing_may_trail_readiness(serve: Serve, clock: Clock, what: str) -> None:
    assert check(serve(**{what: [(502, ""), (503, ""), GOOD[what]]}), clock) == "Hi"
    assert clock.now == pytest.approx(1000.6)


def test_a_key_that_is_not_taken_is_told_as_that(serve: Serve, clock: Clock) -> None:
    with pytest.raises(RolloutFailed, match="does not take the API key"):
        check(serve(models=(401, "unauthorized")), clock)


def test_a_completion_that_was_cut_off_does_not_pass(serve: Serve, clock: Clock) -> None:
    cut = COMPLETION.replace('"length"', "null")
    with pytest.raises(RolloutFailed, match="unfinished"):
        check(serve(chat=(200, cut)), clock)


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("models", "<html>a captive portal</html>"),
        ("models", '{"error": "starting"}'),
        ("chat", "upstream said nothing"),
        ("chat", '{"error": {"message": "engine dead", "code": 500}}'),
        ("chat", '{"choices": []}'),
    ],
)
def test_a_200_that_is_no_answer_is_a_failed_rollout(
    serve: Serve, clock: Clock, what: str, body: str
) -> None:
    with pytest.raises(RolloutFailed) as caught:
        check(serve(**{what: (200, body)}), clock)
    assert body[:20] in str(caught.value)


def test_nobody_listening_is_told_with_the_address(clock: Clock) -> None:
    url = f"http://127.0.0.1:{free_port()}/tiny/v1"
    with pytest.raises(RolloutFailed, match="the gateway does not answer") as caught:
        check(url, clock)
    assert url in caught.value.evidence[0]
    assert clock.now >= 1003.0


Run = Callable[[str], str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The check as a Job runs it; what it prints."""

    def as_a_program(url: str) -> str:
        file = tmp_path / "instructions.json"
        file.write_text(
            json.dumps(
                {
                    **at_url(url),
                    "served_name": "tiny",
                    "route": "chat",
                    "abilities": {},
                    "adapters": [],
                    "max_model_len": 512,
                    "patience": 0.1,
                }
            )
        )
        monkeypatch.setattr(sys, "argv", ["endpoint_check", str(file)])
        monkeypatch.setenv("SLIPWAY_API_KEY", KEY)
        main()
        return capsys.readouterr().out

    return as_a_program


def completed_by(model: str) -> str:
    return json.dumps({**json.loads(COMPLETION), "model": model})


def test_each_adapter_is_asked_once_by_its_name(serve: Serve, asked: list[str]) -> None:
    url = serve(chat=[(200, COMPLETION), (200, completed_by("polite"))])
    said = check_endpoint(url, KEY, "tiny", proving=Proving(adapters=["polite"]), patience=0.1)
    assert said == "Hi; adapter polite answers 'Hi'"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((404, "The model `polite` does not exist."), "vLLM does not serve the adapter polite"),
        ((200, completed_by("tiny")), "tiny answers for the adapter polite"),
    ],
)
def test_an_adapter_that_is_not_served_fails_the_gate(serve: Serve, answer: Answer, cause: str) -> None:
    url = serve(chat=[(200, COMPLETION), answer, (200, COMPLETION), answer])
    with pytest.raises(RolloutFailed) as failed:
        check_endpoint(url, KEY, "tiny", proving=Proving(adapters=["polite"]), patience=0.0)
    assert failed.value.cause == cause


def test_as_a_program_it_prints_the_completion(serve: Serve, run: Run) -> None:
    assert read_answer(run(serve())) == "Hi"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [((503, "no upstream"), GatewayCutOff), ((500, "broken"), RolloutFailed)],
)
def test_a_failure_comes_back_as_what_it_was(
    serve: Serve, run: Run, answer: Answer, kind: type[RolloutFailed]
) -> None:
    with pytest.raises(RolloutFailed) as caught:
        read_answer(run(serve(models=answer)))
    assert type(caught.value) is kind
    assert answer[1] in caught.value.evidence
    assert str(answer[0]) in caught.value.cause


def test_nobody_there_comes_back_as_unreached(run: Run) -> None:
    with pytest.raises(GatewayUnreached, match="does not answer"):
        read_answer(run(f"http://127.0.0.1:{free_port()}/tiny/v1"))


def test_a_server_that_repeats_the_key_does_not_get_it_into_the_log(serve: Serve, run: Run) -> None:
    printed = run(serve(models=(500, f"what is Bearer {KEY}?")))
    assert KEY not in printed
    assert "what is Bearer …?" in printed


CALLED = json.dumps(
    {
        "choices": [
            {
                "message": {
                    "content": None,
                    "tool_calls": [{"function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}],
                },
                "finish_reason": "tool_calls",
            }
        ]
    }
)
HERMES = Proving({"tool_call": "hermes"})


def proving(url: str, clock: Clock) -> str:
    return check_endpoint(url, KEY, "tiny", proving=HERMES, patience=3.0, time=Time(clock, clock.sleep))


def test_an_ability_is_asked_for_after_the_answer(serve: Serve, clock: Clock, asked: list[str]) -> None:
    said = proving(serve(chat=[(200, COMPLETION), (200, CALLED)]), clock)
    assert said == "Hi; calls get_weather(city=Paris)"
    assert asked == ["shut", "models", "chat", "chat"]


def test_a_parser_that_reads_no_call_is_final_and_told_by_its_flag(serve: Serve, clock: Clock) -> None:
    with pytest.raises(RolloutFailed, match="--tool-call-parser=hermes: no tool call came back") as caught:
        proving(serve(), clock)
    assert "check --tool-call-parser in engine.extra_args" in (caught.value.next_command or "")
    assert clock.now == 1000.0


def test_a_refusal_of_tools_is_final_with_the_servers_words(serve: Serve, clock: Clock) -> None:
    refused = (400, '{"error": {"message": "auto tool choice requires"}}')
    with pytest.raises(RolloutFailed, match="a request for a tool_call answers 400") as caught:
        proving(serve(chat=[(200, COMPLETION), refused]), clock)
    assert "auto tool choice requires" in caught.value.evidence[0]
    assert clock.now == 1000.0
