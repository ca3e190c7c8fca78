from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.cloud.kubernetes import Object, Objects
from tasks.records.names import WAKE_ANNOTATION
from tasks.releases.records import Start
from tasks.rollout.context import RolloutContext
from tasks.rollout.start_report import is_of, keep_unknown, start_before
from tests.support.builders import ROOT, an_environment
from tests.support.canned import CannedCluster
from tests.support.heard import Heard
from tests.support.ledgers import a_ledger
from tests.support.pods import READY, RUNNING, SCHEDULED, a_pod, condition
from tests.support.releases import a_record


def a_start(second: int, took: float = 1.0, cause: str = "rollout") -> Start:
    at = datetime(2025, 1, 1, 0, 0, second, tzinfo=UTC)
    return Start(at=at, cause=cause, phases={"weights": took})


@pytest.mark.parametrize(
    ("own", "other", "before"),
    [
        ([], [], None),
        ([], [a_start(1), a_start(2)], a_start(2)),
        ([a_start(1)], [a_start(2)], a_start(1)),  # its own is more like it than another release's
        (
            [a_start(5)],
            [a_start(2)],
            a_start(2),
        ),  # the start itself, and one that came after, are not before it
        ([a_start(7)], [], None),
        ([a_start(1), a_start(2, cause="wake")], [], a_start(1)),
        ([a_start(1, cause="wake")], [a_start(2)], a_start(1, cause="wake")),
    ],
)
def test_a_start_is_held_against_the_last_one_before_it(
    own: list[Start], other: list[Start], before: Start | None
) -> None:
    record = a_record(1).model_copy(update={"starts": tuple(own)})
    another = a_record(2).model_copy(update={"starts": tuple(other)})
    assert start_before(a_start(5), record, another) == before


def test_where_no_release_served_before_there_is_nothing_to_hold_it_against() -> None:
    assert start_before(a_start(5), a_record(1), None) is None


class Logless(CannedCluster):
    """A cluster without Karpenter whose containers have written nothing."""

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> Objects:
        return [] if kind == "NodeClaim" else super().list(api_version, kind, namespace, label_selector)

    def raw(self, *_: Any, **__: Any) -> str:
        return ""


def woken(first_token: str | None = None) -> Object:
    """The ScaledObject of a model that a request woke just before its pod was made."""
    told = {"at": "2024-12-31T23:59:58+00:00", "by": "request"}
    notes = {WAKE_ANNOTATION: json.dumps(told | ({"first_token": first_token} if first_token else {}))}
    return {"kind": "ScaledObject", "metadata": {"name": "vllm-llama", "annotations": notes}}


def the_pod() -> Object:
    pod = a_pod(SCHEDULED, READY, state=RUNNING, namespace="llm")
    return pod | {"spec": {"nodeName": "n"}}


NODE: Object = {
    "kind": "Node",
    "metadata": {"name": "n"},
    "status": {"conditions": [condition("Ready", "2025-01-01T00:00:01Z")]},
}


def seen_by(heard: Heard, *documents: Object) -> tuple[RolloutContext, str]:
    """A context whose ledger has one release, and its id."""
    context = RolloutContext(ROOT, Logless(*documents), an_environment(), a_ledger(), heard)
    record = a_record(1)
    context.ledger.begin(record)
    return context, record.release.id


def test_a_start_that_a_request_asked_for_is_kept_from_the_decision_on(heard: Heard) -> None:
    context, release = seen_by(heard, woken(), NODE)
    [start] = keep_unknown(context, release, [the_pod()], {"node ready": 0.5})
    assert start.cause == "request"
    assert list(start.phases) == ["scaler", "node ready", "scheduled", "container", "ready"]
    assert start.seconds == 72.0
    assert context.ledger.record(release).starts == (start,)
    assert heard.lines[-1].endswith(": node ready took 1.0 s, its budget is 500 ms")


def test_it_is_kept_once_and_anew_when_its_first_token_has_come(heard: Heard) -> None:
    context, release = seen_by(heard, woken(), NODE)
    keep_unknown(context, release, [the_pod()], {})
    told = len(heard.lines)
    assert keep_unknown(context, release, [the_pod()], {}) == []
    context.cluster.apply(woken("2025-01-01T00:01:12+00:00"))
    [start] = keep_unknown(context, release, [the_pod()], {})
    assert start.phases["first token"] == 2.0
    assert context.ledger.record(release).starts == (start,)
    assert keep_unknown(context, release, [the_pod()], {}) == []
    assert len(heard.lines) == told


def test_a_start_that_nobody_asked_for_is_the_scalers(heard: Heard) -> None:
    context, release = seen_by(heard, NODE)
    [start] = keep_unknown(context, release, [the_pod()], {})
    assert (start.cause, "scaler" in start.phases) == ("scaler", False)


@pytest.mark.parametrize(
    ("told", "made", "belongs"),
    [
        ({}, "2025-01-01T00:00:00", False),
        (
            {"at": "2025-01-01T00:00:00.900+00:00"},
            "2025-01-01T00:00:00",
            True,
        ),  # a pod's time has whole seconds
        ({"at": "2025-01-01T00:00:00+00:00"}, "2025-01-01T00:00:59", True),
        ({"at": "2025-01-01T00:00:00+00:00"}, "2025-01-01T00:02:00", False),  # a rollout's
        ({"at": "2025-01-01T00:00:00+00:00", "by": "flow"}, "2025-01-01T00:20:00", True),
        ({"at": "2025-01-01T00:00:05+00:00"}, "2025-01-01T00:00:00", False),
    ],
)
def test_a_wake_is_of_the_pods_it_asked_for(told: dict[str, str], made: str, belongs: bool) -> None:
    assert is_of(told, datetime.fromisoformat(made).replace(tzinfo=UTC)) is belongs


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([], None),
        ([a_start(1, 4.0), a_start(2, 5.0)], 5.0),
        ([a_start(1, 40.0, "request"), a_start(2, 5.0, "scaler")], 40.0),  # one from zero brings a node
        ([a_start(1, 40.0, "request"), a_start(2, 50.0, "wake")], 50.0),
    ],
)
def test_the_next_start_is_expected_to_be_as_the_last_from_zero(
    starts: list[Start], expected: float | None
) -> None:
    assert a_record(1).model_copy(update={"starts": tuple(starts)}).expected_start == expected
