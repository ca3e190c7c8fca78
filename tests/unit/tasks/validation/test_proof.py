"""What the generator is told, and what is read of it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tasks.records.errors import ValidationFailed
from tasks.records.load import Load
from tasks.records.objectives import EachRequest
from tasks.validation.load.figures import measured
from tasks.validation.load.instructions import Good, Instructions, Segment, Trace
from tasks.validation.load.tally import MOST_MESSAGES, Tally
from tasks.validation.proof import certificates, instructions_for, profile, read_measured
from tests.support.builders import ROOT, a_model
from tests.support.reports import AT, failed

KEY = "sk-secret"


def told(load: dict[str, Any], **each: str) -> Instructions:
    bounds = EachRequest.model_validate(each)
    return instructions_for(
        Load.model_validate(load), "http://llm/v1", "llama", each=bounds, max_model_len=512
    )


@pytest.mark.parametrize(
    ("load", "segments"),
    [
        ({"rate": 4, "warmup": 5, "window": 60}, [Segment(5, 4, 4), Segment(60, 4, 4)]),
        ({"rate": 4, "ramp_to": 8, "warmup": 5, "window": 60}, [Segment(5, 4, 4), Segment(60, 4, 8)]),
        (
            {"stages": [{"rate": 2, "seconds": "10s"}, {"rate": 8, "seconds": "20s"}], "warmup": 0},
            [Segment(0, 2, 2), Segment(10, 2, 2), Segment(20, 8, 8)],
        ),
        ({"arrivals": "closed", "concurrency": 4}, []),
        ({"arrivals": "trace", "trace": {"file": "t.csv"}}, []),
    ],
)
def test_the_rate_over_time_is_the_warm_up_and_the_window(
    load: dict[str, Any], segments: list[Segment]
) -> None:
    assert list(told(load).segments) == segments


@pytest.mark.parametrize(
    "load",
    [
        {"rate": 4, "ramp_to": 8},
        {"arrivals": "closed", "concurrency": 4, "streaming": False},
        {"arrivals": "trace", "trace": {"file": "t.csv", "speed": 2, "start": "1m"}},
        {"rate": 1, "prompts": "asks.jsonl", "endpoint": "completions", "prompt_tokens": {"mean": 9}},
    ],
)
def test_instructions_survive_the_way_between_processes(load: dict[str, Any]) -> None:
    one = told(load, ttft="500ms", e2e="2s")
    assert Instructions.read(one.write()) == one
    assert one.good == Good(ttft=0.5, e2e=2.0)


def test_a_trace_is_told_with_its_speed_and_start() -> None:
    one = told({"arrivals": "trace", "trace": {"file": "t.csv", "speed": 2, "start": "1m"}})
    assert one.trace == Trace("t.csv", 2.0, 60.0)


def finished(kinds: dict[str, str]) -> list[str]:
    """A run of the generator in which requests failed with these words."""
    tally = Tally(Good())
    for kind, said in kinds.items():
        tally.add(failed(kind, said))
        tally.add(failed(kind, "said later"))
    document = asdict(measured(tally, 10.0, started_at=AT.isoformat(), lags=()))
    return ['{"progress": 1, "of": 2}', json.dumps({"measured": document})]


def test_the_first_words_of_each_kind_of_failure_are_kept_without_secrets() -> None:
    said = {
        "http 401": f"Bearer {KEY} is not known",
        "http 502": "see https://llm.example/x?signature=abc and hf_abcdef",
        "stalled": "",
    }
    found = read_measured(finished(said), (), KEY)
    assert found.failures == {"http 401": 2, "http 502": 2, "stalled": 2}
    assert found.failure_messages == {
        "http 401": "Bearer … is not known",
        "http 502": "see https://llm.example/x?… and hf_…",
        "stalled": "said later",
    }


def test_words_are_kept_of_so_many_kinds_only() -> None:
    found = read_measured(finished({f"http {n}": "no" for n in range(400, 499)}), (), KEY)
    assert len(found.failures) == 99
    assert len(found.failure_messages) == MOST_MESSAGES


@pytest.mark.parametrize("stdout", ["", "\n", '{"progress": 1, "of": 2}\n', "Killed\n", "[]\n"])
def test_a_generator_without_figures_is_an_error(stdout: str) -> None:
    with pytest.raises(ValidationFailed, match="ended without figures") as caught:
        read_measured(stdout.splitlines(), ("last words",), KEY)
    assert caught.value.evidence == ("last words",)


def test_equal_loads_have_one_profile_and_a_changed_file_another(tmp_path: Path) -> None:
    (tmp_path / "ask.jsonl").write_text('{"prompt": "a"}')
    model = a_model(load={"prompts": "ask.jsonl"})
    first = profile(model, tmp_path)
    assert profile(a_model(load={"prompts": "ask.jsonl"}), tmp_path) == first
    assert profile(a_model(load={"prompts": "ask.jsonl", "rate": 41}), tmp_path) != first
    (tmp_path / "ask.jsonl").write_text('{"prompt": "b"}')
    assert profile(model, tmp_path) != first


def test_other_definitions_make_another_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = profile(a_model(), tmp_path)
    monkeypatch.setattr("tasks.validation.proof.DEFINITIONS", 99)
    assert profile(a_model(), tmp_path) != first


def test_tls_trusts_what_the_environment_names_else_what_httpx_trusts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert Path(certificates()["SSL_CERT_FILE"]).is_file()
    monkeypatch.setenv("SSL_CERT_DIR", "/etc/ssl/certs")
    assert certificates() == {}


def test_an_instruction_that_is_not_known_is_refused() -> None:
    document = json.loads(replace(told({"rate": 1})).write()) | {"surprise": 1}
    with pytest.raises(TypeError):
        Instructions.read(json.dumps(document))


def test_what_is_measured_from_inside_has_another_profile_and_from_here_the_one_it_always_had() -> None:
    model = a_model()
    assert profile(model, ROOT, "here") == profile(model, ROOT)
    assert profile(model, ROOT, "cluster") != profile(model, ROOT)
