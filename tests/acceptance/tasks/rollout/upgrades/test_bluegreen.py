"""Blue-green: the release proves itself on a Deployment of its own, and runs that die meanwhile."""

from __future__ import annotations

import pytest
from slipway_sandbox.testing import Faults

from tasks.records.strategy import Strategy
from tasks.rollout import restore
from tests.support.upgrades import Upgrades, all_answered

pytestmark = pytest.mark.timeout(300)


def test_blue_green_proves_the_release_beside_the_one_that_serves_and_drops_no_request(one: Upgrades) -> None:
    with one.calling() as callers:
        record = one.roll_out(rollout={"strategy": "blue-green"})
    all_answered(callers)
    assert record.rollout
    assert (record.rollout.strategy, record.rollout.gap_seconds) == (Strategy.BLUE_GREEN, 0.0)
    assert one.said("green passed its gate and serves")
    assert one.green() is None
    assert (one.selector(), one.applied()) == (one.name, record.release.id)


def test_a_green_that_fails_its_gate_is_never_asked_and_its_evidence_is_kept(
    one: Upgrades, faults: Faults
) -> None:
    before = one.serving
    faults.set("engine-wrong-name", count=1)
    with one.calling() as callers:
        broken = one.fails("serves another name", rollout={"strategy": "blue-green"})
    all_answered(callers)
    assert (one.serving, one.applied(), one.selector(), one.green()) == (before, before, one.name, None)
    assert broken.failure
    assert "-other, not" in "\n".join(broken.failure.evidence)


def test_a_run_that_dies_while_green_serves_is_undone_and_drops_no_request(one: Upgrades) -> None:
    before = one.serving

    def turned() -> bool:
        return one.selector() != one.name and one.applied() != before

    model = one.a_release(rollout={"strategy": "blue-green"})
    with one.calling() as callers:
        one.dies(model, turned)
        assert one.green()
        back = restore.restore(one.context, model)
    all_answered(callers)
    assert (back.target, one.serving, one.applied()) == (before, before, before)
    assert (one.selector(), one.green()) == (one.name, None)


@pytest.mark.long
def test_the_same_release_started_again_after_it_died_goes_on_from_green(one: Upgrades) -> None:
    def turned() -> bool:
        return one.selector() != one.name and one.applied() != one.serving

    model = one.a_release(rollout={"strategy": "blue-green"})
    with one.calling() as callers:
        one.dies(model, turned)
        record = one.start(model)
    one.ledger.proven(record)
    all_answered(callers)
    assert (one.applied(), one.selector(), one.green()) == (record.release.id, one.name, None)
