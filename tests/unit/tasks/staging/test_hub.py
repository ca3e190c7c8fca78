"""Pinning a repo on the hub, and the hub's refusals told apart."""

from __future__ import annotations

import re

import pytest

from tasks.cloud.waiting import Time
from tasks.records.errors import HubUnavailable
from tasks.records.model import Source
from tasks.staging.hub import resolve
from tasks.staging.link import Hub
from tests.support.clock import Clock
from tests.support.heard import Heard

TINY = Source(repo="slipway/tiny-llama")
READER = "hf_sandbox_reader"


def test_no_hub_at_all_ends_as_unavailable_and_each_retry_is_told(heard: Heard) -> None:
    clock = Clock(0.0)
    with pytest.raises(HubUnavailable):
        resolve(TINY, Hub(READER, "http://127.0.0.1:9", heard, Time(clock, clock.sleep)))
    assert len(heard.lines) == 7
    for number, line in enumerate(heard.lines, start=2):
        assert re.fullmatch(
            rf"GET revision main of slipway/tiny-llama: .*refused.*: attempt {number} of 8 in \S+ m?s", line
        )
    assert READER not in "".join(heard.lines)


def test_the_address_is_the_environments_else_the_public_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert Hub().endpoint == "https://mirror.example"
    monkeypatch.delenv("HF_ENDPOINT")
    assert Hub().endpoint == "https://huggingface.co"


def test_a_token_is_not_shown() -> None:
    assert READER not in repr(Hub(READER))
