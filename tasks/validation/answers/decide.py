"""Decide whether a release answers as the proven one did. Pure.

Greedy tokens are compared up to the first that differs: after it the two write different texts. Noise is what the same
release does when it is asked twice; what is beyond it by more than the limit and two standard errors is a FAIL.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Sequence
from datetime import datetime

from jsonschema import Draft202012Validator

from tasks.records.answers import Answer, Answered, AnswersProof, AnswersReport, Likeness
from tasks.records.golden import Expected

SIGMAS = 2.0  # with the limit beside it: no false alarm in 400 simulated pairs of any noise tried


def agreement(one: Answer, other: Answer) -> float:
    """Share of the longer answer's tokens before the first that differs; 1 for two empty ones."""
    longer = max(len(one.tokens), len(other.tokens))
    return _same(one, other) / longer if longer else 1.0


def drift(one: Answer, other: Answer) -> float:
    """Mean difference of log-probabilities over the tokens both chose, in nats; 0 where there is none."""
    both = list(zip(one.logprobs, other.logprobs, strict=False))[: _same(one, other)]
    return statistics.fmean(abs(a - b) for a, b in both) if both else 0.0


def _same(one: Answer, other: Answer) -> int:
    pairs = enumerate(zip(one.tokens, other.tokens, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one.tokens), len(other.tokens)))


def noise_of(answered: Sequence[Answered]) -> Likeness:
    """How far a release agrees with itself."""
    return Likeness(
        agreement=statistics.fmean(agreement(*one.answers) for one in answered),
        drift=statistics.fmean(drift(*one.answers) for one in answered),
    )


def judge(
    answered: Sequence[Answered],
    proof: AnswersProof,
    profile: str,
    before: tuple[str, AnswersReport] | None,
    at: datetime,
) -> AnswersReport:
    """The report. `before`: the proven release and what it answered; not compared where its prompts were others."""
    reasons = [*_wrong_checks(answered, proof)]
    noise = noise_of(answered)
    comparable = before if before and before[1].profile == profile else None
    likeness = None
    if comparable:
        likeness, worse = _compare(answered, comparable[1].answered, proof, comparable[0])
        reasons += worse
    verdict = "FAIL" if reasons else "PASS"
    return AnswersReport(
        verdict=verdict,
        reasons=tuple(reasons or [_why_it_passes(likeness, before, comparable)]),
        asked_at=at,
        profile=profile,
        answered=tuple(answered),
        against=comparable[0] if comparable else None,
        likeness=likeness,
        noise=noise,
    )


def _why_it_passes(
    likeness: Likeness | None,
    before: tuple[str, AnswersReport] | None,
    comparable: tuple[str, AnswersReport] | None,
) -> str:
    if likeness and comparable:
        return (
            f"{likeness.agreement:.1%} of greedy tokens are those of release {comparable[0]}, "
            f"log-probabilities differ by {likeness.drift:.3g} nats"
        )
    if before:
        return f"not compared with release {before[0]}: it was asked other prompts, or with other settings"
    return "not compared: no proven release has answered yet"


def _compare(
    now: Sequence[Answered], before: Sequence[Answered], proof: AnswersProof, release: str
) -> tuple[Likeness, list[str]]:
    """Likeness with the release before, and what is beyond limits and noise."""
    older = {one.name: one for one in before}
    pairs = [(one, older[one.name]) for one in now]
    shares = [statistics.fmean(agreement(x, y) for x in a.answers for y in b.answers) for a, b in pairs]
    nats = [statistics.fmean(drift(x, y) for x in a.answers for y in b.answers) for a, b in pairs]
    repeats = [one.answers for pair in pairs for one in pair]
    own_shares = [agreement(*both) for both in repeats]
    own_nats = [drift(*both) for both in repeats]
    likeness = Likeness(agreement=statistics.fmean(shares), drift=statistics.fmean(nats))
    reasons = []
    less = statistics.fmean(own_shares) - likeness.agreement
    if less > (1 - proof.agreement) + SIGMAS * _error(own_shares):
        [furthest, *_] = sorted(range(len(pairs)), key=lambda n: shares[n])
        reasons.append(
            f"{likeness.agreement:.1%} of greedy tokens are those of release {release}; "
            f"{less:.1%} fewer than the same release repeats, {1 - proof.agreement:.1%} are allowed; "
            f"furthest: {pairs[furthest][0].name}"
        )
    more = likeness.drift - statistics.fmean(own_nats)
    if more > proof.drift + SIGMAS * _error(own_nats):
        reasons.append(
            f"log-probabilities differ by {likeness.drift:.3g} nats from release {release}; "
            f"{more:.3g} beyond the noise, {proof.drift:g} is allowed"
        )
    return likeness, reasons


def _error(repeats: Sequence[float]) -> float:
    """Standard error of the difference between the mean over both releases' repeats and that over pairs of the two.

    Each prompt has four such pairs of two answers a release, which are worth two independent ones. By the repeats alone: what an altered release does to the pairs must not widen what is allowed to it.
    """
    return statistics.stdev(repeats) * math.sqrt(2 / len(repeats))


def _wrong_checks(answered: Sequence[Answered], proof: AnswersProof) -> list[str]:
    checked = [one for one in answered if one.check is not None]
    wrong = [one for one in checked if one.check]
    if not checked or 1 - len(wrong) / len(checked) >= proof.checks:
        return []
    told = "; ".join(f"{one.name}: {one.check}" for one in wrong[:5])
    return [f"{len(wrong)} of {len(checked)} checks fail: {told}"]


def check(answer: Answer, expected: Expected) -> str:
    """What is wrong with an answer; empty where it is as expected."""
    if expected.regex is not None:
        found = re.search(expected.regex, answer.text)
        return "" if found else f"{answer.text[:80]!r} does not match {expected.regex!r}"
    if expected.tool_call is not None:
        return _check_call(answer, expected)
    return _against(answer.text, expected.json_schema or {})


def _check_call(answer: Answer, expected: Expected) -> str:
    wanted = expected.tool_call
    if wanted is None or not answer.tool_call:
        return f"no tool was called, but {answer.text[:80]!r} said"
    call = json.loads(answer.tool_call)
    if call["name"] != wanted.name:
        return f"{call['name']} was called, not {wanted.name}"
    return _against(str(call["arguments"]), wanted.arguments)


def _against(text: str, schema: dict[str, object]) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        return f"{text[:80]!r} is not JSON"
    error = next(iter(Draft202012Validator(schema).iter_errors(document)), None)
    return f"{error.message[:120]}" if error else ""
