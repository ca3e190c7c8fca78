"""Sweep: put one rate after another on a running endpoint until the knee is found or cannot be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from tasks.cloud.waiting import REAL, Time
from tasks.records.errors import InputError
from tasks.records.load import Load
from tasks.records.model import Model
from tasks.records.progress import Reporter
from tasks.records.quantities import human_seconds
from tasks.records.reports import LoadReport, Sweep, SweepStep
from tasks.validation.judge import ENOUGH_REQUESTS
from tasks.validation.knee import Limits, Refused, find, next_rate, proposals

STEP_SECONDS = 60.0  # longest window of a step
RANGE = 64.0  # rates from 1/64 of the model's own to 64 times it

Measure = Callable[[Load], LoadReport]


def sweepable(model: Model) -> float:
    """The rate to begin with. Raises InputError for a load without a rate."""
    load = model.load
    if load.arrivals not in ("poisson", "constant") or load.offered_rate is None:
        raise InputError(
            f"a sweep changes the rate, and the load of {model.name} has none ({load})",
            next_command=f"edit models/{model.name}.yaml: load.arrivals: poisson, load.rate: …",
        )
    return load.offered_rate


def step_load(load: Load, rate: float, number: int, step_seconds: float) -> Load:
    """The model's load at one rate, long enough for a verdict.

    Each step has another seed: a prefix cache must not answer with what it kept of the step before.
    """
    given = load.model_dump(exclude={"stages", "ramp_to"})
    window = max(min(load.window, step_seconds), 2 * ENOUGH_REQUESTS / rate)
    return Load.model_validate(
        given | {"rate": rate, "window": window, "seed": load.seed + 7919 * (number + 1)}
    )


def as_step(rate: float, report: LoadReport) -> SweepStep:
    return SweepStep(
        rate=rate,
        verdict=report.verdict,
        reason=report.reasons[0],
        requests=report.requests,
        in_flight=report.in_flight or 0.0,
        ttft=report.ttft,
        tpot=report.tpot,
        e2e=report.e2e,
        output_tokens_per_second=report.output_tokens_per_second,
        error_rate=1.0 if report.error_rate is None else report.error_rate,
    )


def search(
    model: Model,
    measure: Measure,
    reporter: Reporter,
    *,
    replicas: int,
    budget: float,
    step_seconds: float = STEP_SECONDS,
    time: Time = REAL,
) -> Sweep:
    """Measure steps until the search is over, or another step would exceed `budget` seconds. `conclude` finds the knee."""
    start = sweepable(model)
    limits = Limits(start / RANGE, start * RANGE)
    started_at, give_up = datetime.now(UTC), time.clock() + budget
    steps: list[SweepStep] = []
    while (rate := next_rate(steps, start, limits)) is not None:
        load = step_load(model.load, rate, len(steps), step_seconds)
        longest = load.warmup + load.window + load.drain
        if time.clock() + longest > give_up:
            reporter.say(f"another step takes up to {human_seconds(longest)}: the budget ends the sweep")
            break
        steps.append(as_step(rate, measure(load)))
        last = steps[-1]
        reporter.say(f"{rate:.3g}/s: {last.verdict}, {last.in_flight:.1f} under way: {last.reason}")
    return Sweep(started_at=started_at, replicas=replicas, steps=tuple(steps))


def conclude(sweep: Sweep, replicas_after: int) -> Sweep:
    """Add the knee and the settings it proposes, or why there is none."""
    knee = find(sweep.steps, (sweep.replicas, replicas_after))
    if isinstance(knee, Refused):
        return sweep.model_copy(update={"refused": knee.why})
    target, most, why = proposals(knee, sweep.replicas)
    return sweep.model_copy(
        update={
            "knee": knee.rate,
            "in_flight": knee.step.in_flight,
            "requests_per_replica": target,
            "max_num_seqs": most,
            "why": why,
        }
    )


def rows(sweep: Sweep) -> list[dict[str, str]]:
    """Rows for a table artifact, by rate."""

    def ms(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}"

    return [
        {
            "rate": f"{step.rate:.3g}/s" + (" (knee)" if step.rate == sweep.knee else ""),
            "verdict": step.verdict,
            "under way": f"{step.in_flight:.1f}",
            "ttft p95 (ms)": ms(step.ttft.p95),
            "e2e p95 (ms)": ms(step.e2e.p95),
            "output tokens": f"{step.output_tokens_per_second:.0f}/s",
            "why": step.reason,
        }
        for step in sorted(sweep.steps, key=lambda step: step.rate)
    ]
