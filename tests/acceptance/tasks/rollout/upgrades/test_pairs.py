"""A new release is asked beside the one that serves before traffic moves, and put back where it is slower or answers otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from slipway_sandbox.testing import Faults

from tasks.cloud.objects import read_key
from tasks.records.answers import AnswersProof
from tasks.records.errors import ValidationFailed
from tasks.records.golden import read_golden
from tasks.records.model import Model
from tasks.records.names import KEY_SECRET
from tasks.records.pairs import Paired, PairSettings
from tasks.records.strategy import Strategy
from tasks.rollout import restore
from tasks.rollout.context import RolloutContext
from tasks.validation.pairs.proof import ask_pairs, judge_pairs, pair_instructions
from tests.support.builders import ROOT
from tests.support.upgrades import Upgrades, all_answered
from tests.support.workloads import NAMESPACE

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

PAIRS = {"count": 64, "slower": 0.2}  # of a machine that others use, too
LOAD = {"rate": 4.0}


def a_release(one: Upgrades) -> tuple[Model, RolloutContext]:
    """The next release, and a context in which it is asked in pairs as the flow does it."""
    model = one.a_release(rollout={"pairs": PAIRS}, load=LOAD)
    settings = model.rollout.pairs
    assert settings

    def beside(before: Sequence[str], now: Sequence[str], release: str) -> Paired:
        return asked(one, settings, before, now, release)

    return model, replace(one.context, beside=beside)


def asked(
    one: Upgrades, settings: PairSettings, before: Sequence[str], now: Sequence[str], release: str
) -> Paired:
    """As tasks/validation/task.py does it, without a Prefect run."""
    model, proof = one.a_release(answers={}), AnswersProof(max_tokens=16)
    prompts = read_golden(proof, ROOT)
    told = pair_instructions(model, proof, settings, prompts, before, now)
    key = read_key(one.api, NAMESPACE, KEY_SECRET)
    lines = ask_pairs(one.api, one.context.environment, model, told, key, one.heard)
    paired = judge_pairs(lines, model, settings, prompts, release, datetime.now(UTC))
    one.heard.say(f"pairs: {paired.verdict}: {'; '.join(paired.reasons)}")
    if paired.verdict == "FAIL":
        raise ValidationFailed(paired.reasons[0], evidence=paired.reasons[1:])
    return paired


def policies(one: Upgrades) -> set[str]:
    listed = one.api.list("networking.k8s.io/v1", "NetworkPolicy", NAMESPACE)
    return {policy["metadata"]["name"] for policy in listed}


def test_the_same_model_passes_beside_itself_and_nobody_waits(one: Upgrades) -> None:
    before = one.serving
    model, context = a_release(one)
    with one.calling() as callers:
        record = one.start(model, context)
    one.ledger.proven(record)
    all_answered(callers)
    assert record.rollout
    assert record.rollout.strategy is Strategy.BLUE_GREEN
    assert one.said("both releases are asked in pairs")
    assert record.paired
    assert (record.paired.against, record.paired.verdict) == (before, "PASS")
    assert record.paired.time
    assert record.paired.time.pairs == 64
    assert record.paired.likeness
    assert record.paired.likeness.agreement == 1.0
    assert not policies(one) & {"slipway-pairs", "vllm-pairs"}


@pytest.mark.parametrize(
    ("fault", "seconds", "said"),
    [
        ("engine-slow-token", 0.1, "longer than those of release"),
        ("engine-altered-answers", None, "of greedy tokens are those of release"),
    ],
)
def test_a_release_that_is_slower_or_answers_otherwise_never_gets_traffic(
    one: Upgrades, faults: Faults, fault: str, seconds: float | None, said: str
) -> None:
    before = one.serving
    model, context = a_release(one)
    faults.set(fault, target="green-*", value=seconds)
    with pytest.raises(ValidationFailed, match=said):
        one.start(model, context)
    assert one.selector() == one.name  # the Service did not move
    rolling = one.ledger.serving().rolling
    assert rolling
    restore.undo(one.context, model)
    assert (one.serving, one.applied(), one.green()) == (before, before, None)
    failure = one.ledger.record(rolling).failure
    assert failure
    assert said in failure.cause
