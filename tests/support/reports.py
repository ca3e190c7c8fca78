"""Load reports as a run would have made them, for tests that compare and draw them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from tasks.records.model import Engine, Load
from tasks.records.objectives import Objectives
from tasks.records.results import LoadReport, Release
from tasks.validation.measure import report
from tasks.validation.tally import Tally
from tasks.validation.wire import Outcome

AT = datetime(2025, 1, 1, tzinfo=UTC)


def a_run(
    seed: int,
    *,
    slower: float = 1.0,
    spread: float = 0.1,
    failing: float = 0.0,
    requests: int = 400,
    lateness: float = 0.0,
    profile: str = "p1",
    closed: bool = False,
    **objectives: Any,
) -> LoadReport:
    """100 ms to the first token, 10 ms a token, 20 tokens, each times a lognormal factor."""
    chance = random.Random(seed)
    asked = Objectives.model_validate({"errors": 0.5} | objectives)
    load = (
        Load(arrivals="closed", concurrency=4, window=40) if closed else Load(rate=requests / 40, window=40)
    )
    tally = Tally(asked)
    for n in range(requests):
        due = n * 40 / requests
        if chance.random() < failing:
            tally.add(Outcome(due, True, lateness, "http 503"))
            continue
        ttft = slower * 0.1 * chance.lognormvariate(0, spread)
        tpot = slower * 0.01 * chance.lognormvariate(0, spread)
        tally.add(
            Outcome(
                due, True, lateness, "", ttft, ttft + 19 * tpot, tpot, (tpot,) * 19, round(20 / slower), 5
            )
        )
    found = report(tally, load, asked, started_at=AT, lags=[lateness])
    return found.model_copy(update={"profile": profile})


def a_release(**over: Any) -> Release:
    base = {
        "model": "llama",
        "environment": "staging",
        "repo": "org/llama",
        "commit": "0" * 40,
        "image": "vllm/vllm-openai:v0.32.0",
        "engine": Engine(),
        "manifests_sha256": "a" * 64,
    }
    return Release.model_validate(base | over)
