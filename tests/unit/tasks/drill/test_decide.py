"""Whether a promise may be put to the test, and what is promised at all."""

from __future__ import annotations

import pytest

from tasks.drill.decide import check_allowed, may_interrupt, may_scale
from tasks.records.errors import InputError
from tasks.records.results import IdleDecision
from tasks.releases.ledger import Serving
from tasks.releases.promises import not_promised, promised
from tests.support.builders import a_model, an_environment
from tests.support.releases import a_record
from tests.support.reports import a_run

ROOM = {"min_replicas": 1, "max_replicas": 2, "requests_per_replica": 4}


@pytest.mark.parametrize(
    ("scaling", "previous", "expected"),
    [
        ({}, None, ("wake",)),
        ({}, "r0", ("wake", "rollback")),
        (ROOM, None, ("wake", "scale-out", "scale-in")),
        ({"min_replicas": 2, "max_replicas": 2}, "r0", ("wake", "rollback")),
    ],
)
def test_a_release_promises_what_its_bounds_and_its_past_allow(
    scaling: dict[str, int], previous: str | None, expected: tuple[str, ...]
) -> None:
    assert promised(a_model(scaling=scaling), Serving(serving="r1", previous=previous)) == expected


def test_why_a_promise_is_none_is_said() -> None:
    no = not_promised("scale-out", a_model(), Serving(serving="r1"))
    assert no
    assert (no.outcome, no.why) == (
        "not promised",
        "scaling.min_replicas and max_replicas are 1: nothing scales",
    )


@pytest.mark.parametrize(
    ("ready", "wanted", "demand", "why"),
    [
        (1, 1, 0.0, None),
        (1, 1, 2.0, None),
        (1, 1, None, None),  # what has no metrics is drilled: that is a fault to find
        (1, 1, 2.1, "the demand is 2.1 of 4: others use it"),
        (2, 2, 0.0, "2 replicas run, more than min_replicas: it is scaled out already"),
        (0, 1, 0.0, "0 of 1 replicas are ready"),
        (1, 2, 0.0, "1 of 2 replicas are ready"),
    ],
)
def test_load_is_put_only_on_what_is_quiet_and_whole(
    ready: int, wanted: int, demand: float | None, why: str | None
) -> None:
    no = may_scale(a_model(scaling=ROOM), ready, wanted, demand, an_environment())
    assert (no and (no.outcome, no.why)) == (why and ("not now", why))


def test_a_protected_environment_is_drilled_only_where_that_is_said() -> None:
    protected = an_environment(protected=True)
    with pytest.raises(InputError, match="is protected: a drill puts load on what serves"):
        check_allowed(protected, [], False)
    assert "scale-out" in check_allowed(protected, [], True)
    assert "wake" in check_allowed(an_environment(protected=True, drills={"in_protected": True}), [], False)


def test_a_word_that_is_no_promise_is_refused() -> None:
    with pytest.raises(InputError, match="'scaleout' is no promise"):
        check_allowed(an_environment(), ["scaleout"], False)
    assert check_allowed(an_environment(), ["scale-in", "wake"], False) == ("wake", "scale-in")


@pytest.mark.parametrize(
    ("idle", "verdict", "why"),
    [
        (True, None, None),
        (True, "PASS", None),
        (True, "FAIL", "which served before, is not proven"),
        (False, None, "it would interrupt what is in use: 3 requests"),
        (False, "PASS", "it would interrupt what is in use: 3 requests"),
    ],
)
def test_nobody_is_interrupted_and_only_a_proven_release_is_put_back(
    idle: bool, verdict: str | None, why: str | None
) -> None:
    before = a_record(8).model_copy(update={"report": a_run(1).model_copy(update={"verdict": verdict})})
    decision = IdleDecision(act=idle, reason="3 requests", evidence=())
    no = may_interrupt(a_model(), an_environment(), decision, before if verdict else None)
    assert (no is None) == (why is None)
    assert why is None or (no and why in no.why)
