"""A release that fails its gate, or whose run dies before: what served goes on."""

from __future__ import annotations

import pytest
from slipway_sandbox.testing import Faults

from tasks.rollout import restore
from tests.support.upgrades import Upgrades, all_answered

pytestmark = pytest.mark.timeout(300)


def test_a_surge_that_fails_its_gate_is_never_asked_and_what_served_goes_on(
    one: Upgrades, faults: Faults
) -> None:
    before = one.serving
    faults.set("engine-wrong-name", count=1)
    with one.calling() as callers:
        broken = one.fails("serves another name")
    all_answered(callers)
    assert (one.serving, one.applied()) == (before, before)
    assert broken.failure


def test_a_release_checked_again_keeps_its_proof_and_its_starts_when_the_run_dies(one: Upgrades) -> None:
    before = one.roll_out()
    one.number -= 1
    one.stops_at_first_write(one.a_release())
    kept = one.ledger.record(before.release.id)
    assert (kept.rollout, kept.starts) == (before.rollout, before.starts)
    restore.undo(one.context, one.a_release())
    assert one.serving == before.release.id


def test_going_back_twice_is_going_back_once(one: Upgrades, faults: Faults) -> None:
    before = one.serving
    faults.set("engine-wrong-name", count=1)
    one.fails("serves another name")
    again = restore.restore(one.context, one.a_release())
    assert (again.target, again.act) == (before, False)
    assert (one.serving, one.applied()) == (before, before)
