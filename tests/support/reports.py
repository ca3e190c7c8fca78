"""Load reports as a run would have made them, for tests that compare and draw them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from tasks.records.load import Load
from tasks.records.model import Engine
from tasks.records.objectives import Objectives
from tasks.records.reports import LoadReport, Measured
from tasks.records.results import Release
from tasks.validation.judge import judged
from tasks.validation.load.figures import measured
from tasks.validation.load.instructions import Good
from tasks.validation.load.tally import Tally
from tasks.validation.load.wire import Outcome

AT = datetime(2025, 1, 1, tzinfo=UTC)
LOAD = Load(rate=10.0, warmup=1.0, window=10.0)


def outcome(**over: Any) -> Outcome:
    """A good request: 100 ms to the first token, 10 ms a token, 300 ms in all, 20 tokens, sent in time."""
    base: dict[str, Any] = {
        "due": 0.0, "counted": True, "lateness": 0.0, "failure": "", "ttft": 0.100, "e2e": 0.300,
        "tpot": 0.010, "gaps": (0.010, 0.012), "output_tokens": 20, "prompt_tokens": 5,
    }  # fmt: skip
    return Outcome(**base | over)


def failed(why: str = "http 503", message: str = "") -> Outcome:
    return Outcome(due=0.0, counted=True, lateness=0.0, failure=why, message=message)


def judged_outcomes(
    outcomes: list[Outcome], *, lags: tuple[float, ...] = (), **objectives: Any
) -> LoadReport:
    """The report of these requests under LOAD, judged by `objectives` as a file has them."""
    asked = Objectives.model_validate(objectives)
    tally = Tally(good_of(asked))
    for one in outcomes:
        tally.add(one)
    return report_of(tally, LOAD, asked, lags=lags)


def good_of(objectives: Objectives) -> Good:
    return Good(objectives.each.ttft, objectives.each.tpot, objectives.each.e2e)


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
    tally = Tally(good_of(asked))
    for n in range(requests):
        due = n * 40 / requests
        if chance.random() < failing:
            tally.add(Outcome(due, True, lateness, "http 503", message="no engine is ready"))
            continue
        ttft = slower * 0.1 * chance.lognormvariate(0, spread)
        tpot = slower * 0.01 * chance.lognormvariate(0, spread)
        tally.add(
            Outcome(
                due, True, lateness, "", ttft, ttft + 19 * tpot, tpot, (tpot,) * 19, round(20 / slower), 5
            )
        )
    return report_of(tally, load, asked, lags=[lateness], profile=profile)


def report_of(
    tally: Tally, load: Load, objectives: Objectives, *, lags: Sequence[float] = (), profile: str = ""
) -> LoadReport:
    """The report of a tally, by way of JSON as the generator's process sends it."""
    bounded = any(objectives.each.bounds())
    found = measured(tally, load.window, started_at=AT.isoformat(), lags=lags, bounded=bounded)
    read = Measured.model_validate_json(json.dumps(asdict(found)))
    return judged(read, load, objectives, profile=profile)


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
