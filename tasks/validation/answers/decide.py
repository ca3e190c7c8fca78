"""Decide whether a release answers as the proven one did. Pure.

Greedy tokens are compared up to the first that differs: after it the two write different texts. Embeddings are compared by
their cosine distance, scores by their difference. Noise is what the same release does when it is asked twice; what is beyond
it by more than the limit and two standard errors is a FAIL.
"""

from __future__ import annotations

import base64
import json
import math
import re
import statistics
import struct
from collections.abc import Sequence
from datetime import datetime

from jsonschema import Draft202012Validator

from tasks.records.answers import Answer, Answered, AnswersProof, AnswersReport, Likeness, Measure
from tasks.records.golden import Expected

SIGMAS = 2.0  # with the limit beside it: no false alarm in 400 simulated pairs of any noise tried


def agreement(one: Answer, other: Answer) -> float:
    """Share of the longer answer's tokens before the first that differs; 1 for two empty ones.

    Of vectors and scores: 1 for the very same ones, else 0.
    """
    if measure_of(one) != "nats":
        return float(one == other)
    longer = max(len(one.tokens), len(other.tokens))
    return _same(one, other) / longer if longer else 1.0


def drift(one: Answer, other: Answer) -> float:
    """How far the answers' numbers are from each other; 0 where nothing can be compared.

    Of a chat: mean difference of log-probabilities over the tokens both chose. Of vectors: cosine distance. Of scores: mean difference.
    """
    if one.vector:
        return cosine_distance(one.vector, other.vector)
    if one.scores:
        return statistics.fmean(abs(a - b) for a, b in zip(one.scores, other.scores, strict=True))
    both = list(zip(one.logprobs, other.logprobs, strict=False))[: _same(one, other)]
    return statistics.fmean(abs(a - b) for a, b in both) if both else 0.0


def _same(one: Answer, other: Answer) -> int:
    pairs = enumerate(zip(one.tokens, other.tokens, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one.tokens), len(other.tokens)))


def measure_of(one: Answer) -> Measure:
    """What drift is of: log-probabilities, embeddings or scores."""
    return "cosine" if one.vector else "score" if one.scores else "nats"


def cosine_distance(one: str, other: str) -> float:
    """0 for the same direction, 2 for opposite ones; of two packed vectors of one length."""
    if one == other:
        return 0.0
    first, second = unpacked(one), unpacked(other)
    product = math.fsum(a * b for a, b in zip(first, second, strict=True))
    return max(0.0, 1 - product / (math.hypot(*first) * math.hypot(*second)))


def unpacked(vector: str) -> tuple[float, ...]:
    """The numbers of a vector as `asking.packed` writes it."""
    packed = base64.b64decode(vector)
    return struct.unpack(f"<{len(packed) // 2}e", packed)


def numbers_of(one: Answer) -> int:
    """How many numbers a vector or a list of scores has; a chat's answer has none."""
    return len(unpacked(one.vector)) or len(one.scores)


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
    noise = noise_of(answered)
    comparable = before if before and before[1].profile == profile else None
    reasons = [*_wrong_checks(answered, proof)]
    likeness = None
    if comparable and (other := _other_shape(answered, *comparable)):
        reasons.append(other)
    elif comparable:
        likeness, worse = _compare(answered, comparable[1].answered, proof, comparable[0])
        reasons += worse
    verdict = "FAIL" if reasons else "PASS"
    return AnswersReport(
        verdict=verdict,
        reasons=tuple(reasons or [_why_it_passes(likeness, before, comparable)]),
        asked_at=at,
        profile=profile,
        measure=_measure(answered),
        answered=tuple(answered),
        against=comparable[0] if comparable else None,
        likeness=likeness,
        noise=noise,
    )


def _measure(answered: Sequence[Answered]) -> Measure:
    return measure_of(answered[0].answers[0])


def _other_shape(now: Sequence[Answered], release: str, before: AnswersReport) -> str:
    """What is said where vectors have another length, which cannot be compared; empty where they have the same."""
    older = {one.name: numbers_of(one.answers[0]) for one in before.answered}
    for one in now:
        if (count := numbers_of(one.answers[0])) != older[one.name]:
            return f"{one.name} is answered with {count} numbers, by release {release} with {older[one.name]}"
    return ""


def _why_it_passes(
    likeness: Likeness | None,
    before: tuple[str, AnswersReport] | None,
    comparable: tuple[str, AnswersReport] | None,
) -> str:
    if likeness and comparable:
        told = _told(likeness.drift, comparable[1].measure, comparable[0])
        if comparable[1].measure != "nats":
            return told
        return f"{likeness.agreement:.1%} of greedy tokens are those of release {comparable[0]}, {told}"
    if before:
        return f"not compared with release {before[0]}: it was asked other prompts, or with other settings"
    return "not compared: no proven release has answered yet"


def _told(drift: float, measure: Measure, release: str) -> str:
    """The drift from a release in words."""
    if measure == "nats":
        return f"log-probabilities differ by {drift:.3g} nats from release {release}"
    if measure == "cosine":
        return f"embeddings are {drift:.3g} from those of release {release} (cosine distance)"
    return f"scores differ by {drift:.3g} from those of release {release}"


def _compare(
    now: Sequence[Answered], before: Sequence[Answered], proof: AnswersProof, release: str
) -> tuple[Likeness, list[str]]:
    """Likeness with the release before, and what is beyond limits and noise."""
    older = {one.name: one for one in before}
    pairs = [(one, older[one.name]) for one in now]
    shares = [statistics.fmean(agreement(x, y) for x in a.answers for y in b.answers) for a, b in pairs]
    apart = [statistics.fmean(drift(x, y) for x in a.answers for y in b.answers) for a, b in pairs]
    repeats = [one.answers for pair in pairs for one in pair]
    own_shares = [agreement(*both) for both in repeats]
    own_apart = [drift(*both) for both in repeats]
    likeness = Likeness(agreement=statistics.fmean(shares), drift=statistics.fmean(apart))
    reasons = []
    measure = _measure(now)
    less = statistics.fmean(own_shares) - likeness.agreement
    if measure == "nats" and less > (1 - proof.agreement) + SIGMAS * _error(own_shares):
        [furthest, *_] = sorted(range(len(pairs)), key=lambda n: shares[n])
        reasons.append(
            f"{likeness.agreement:.1%} of greedy tokens are those of release {release}; "
            f"{less:.1%} fewer than the same release repeats, {1 - proof.agreement:.1%} are allowed; "
            f"furthest: {pairs[furthest][0].name}"
        )
    more = likeness.drift - statistics.fmean(own_apart)
    allowed = {"nats": proof.drift, "cosine": proof.cosine, "score": proof.score}[measure]
    if more > allowed + SIGMAS * _error(own_apart):
        [furthest, *_] = sorted(range(len(pairs)), key=lambda n: -apart[n])
        reasons.append(
            f"{_told(likeness.drift, measure, release)}; {more:.3g} beyond the noise, {allowed:g} is allowed; "
            f"furthest: {pairs[furthest][0].name}"
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
