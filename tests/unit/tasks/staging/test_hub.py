"""Pinning a repo on the hub, and the hub's refusals told apart."""

from __future__ import annotations

import re

import pytest

from tasks.records.errors import (
    HubUnavailable,
)
from tasks.records.model import Source
from tasks.staging.hub import resolve
from tests.support.clock import Clock
from tests.support.heard import Heard

TINY = Source(repo="slipway/tiny-llama")
READER, STRANGER = "hf_sandbox_reader", "hf_sandbox_stranger"


def test_no_hub_at_all_ends_as_unavailable_and_each_retry_is_told(heard: Heard) -> None:
    clock = Clock(0.0)
    with pytest.raises(HubUnavailable):
        resolve(
            TINY, token=READER, endpoint="http://127.0.0.1:9", reporter=heard, clock=clock, sleep=clock.sleep
        )
    assert len(heard.lines) == 7
    for number, line in enumerate(heard.lines, start=2):
        assert re.fullmatch(
            rf"GET revision main of slipway/tiny-llama: .*refused.*: attempt {number} of 8 in \S+ m?s", line
        )
    assert READER not in "".join(heard.lines)
