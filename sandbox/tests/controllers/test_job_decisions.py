"""What a job counts, when it gives up and what it makes next, as tables."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from slipway_sandbox.controllers.controller import Timing
from slipway_sandbox.controllers.job import decide_job
from slipway_sandbox.controllers.job_tracking import FINALIZER
from slipway_sandbox.controllers.objects import JOBS, PODS, Object, timestamp
from slipway_sandbox.controllers.writes import Patch, Update
from tests.controllers.builders import NOW, meta, pod

LATER = NOW + timedelta(hours=1)


def job(status: Object | None = None, **spec: Any) -> Object:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}}
    base = {"template": template, "completions": 1, "parallelism": 1, "backoffLimit": 6}
    return {
        "metadata": meta("j"),
        "spec": base | spec,
        "status": {"startTime": timestamp(NOW), **(status or {})},
    }


def ended(name: str, phase: str, code: int = 0, **status: Any) -> Object:
    item = pod(name, "a", phase=phase)
    item["metadata"] |= {"finalizers": [FINALIZER], "creationTimestamp": timestamp(NOW)}
    item["status"] |= {
        "containerStatuses": [
            {"name": "main", "restartCount": 0, "state": {"terminated": {"exitCode": code}}}
        ],
        **status,
    }
    return item


def step(item: Object, *pods: Object) -> tuple[Object, list[Object], int]:
    """(the status written, the pods freed, the pods made)"""
    plan = decide_job(item, pods, LATER, Timing())
    updates = [w for w in plan.writes if isinstance(w, Update) and w.resource == JOBS]
    freed = [w for w in plan.writes if isinstance(w, Patch) and w.resource == PODS]
    kinds = [type(write) for write in plan.writes]
    if updates and freed:
        assert kinds.index(Update) < kinds.index(Patch), "a pod was freed before it was counted"
    status = updates[0].body["status"] if updates else item["status"]
    return status, [w.target for w in freed], len(plan.creates)


def test_a_pod_is_noted_then_freed_then_counted() -> None:
    good = ended("p", "Succeeded")
    noted, freed, _ = step(job(completions=2), good)
    assert noted["uncountedTerminatedPods"] == {"succeeded": ["uid-p"]}
    assert "succeeded" not in noted
    assert freed == [good]
    good["metadata"]["finalizers"] = []
    counted, freed, _ = step(job(noted, completions=2), good)
    assert (counted["succeeded"], counted["uncountedTerminatedPods"], freed) == (1, {}, [])
    assert step(job(counted, completions=2))[0]["succeeded"] == 1


def test_a_noted_pod_that_is_gone_counts_all_the_same() -> None:
    noted = {"uncountedTerminatedPods": {"failed": ["uid-gone"]}, "failed": 1}
    assert step(job(noted))[0]["failed"] == 2


def test_a_job_is_not_over_before_all_are_counted() -> None:
    status, _, _ = step(job(), ended("p", "Succeeded"))
    assert [c["type"] for c in status["conditions"]] == ["SuccessCriteriaMet"]
    status, _, _ = step(job(status))
    assert [c["type"] for c in status["conditions"]] == ["SuccessCriteriaMet", "Complete"]


@pytest.mark.parametrize(("failed", "limit", "over"), [(2, 2, False), (3, 2, True), (1, 0, True)])
def test_more_failures_than_the_limit_end_the_job(failed: int, limit: int, over: bool) -> None:
    status, _, _ = step(job({"failed": failed}, backoffLimit=limit))
    reasons = [c["reason"] for c in status.get("conditions") or []]
    assert ("BackoffLimitExceeded" in reasons) is over


EXIT_42 = {"onExitCodes": {"operator": "In", "values": [42]}}
DISRUPTED = {"onPodConditions": [{"type": "DisruptionTarget"}]}


@pytest.mark.parametrize(
    ("rule", "code", "conditions", "failed", "reason"),
    [
        ({"action": "FailJob", **EXIT_42}, 42, [], 1, "PodFailurePolicy"),
        ({"action": "FailJob", **EXIT_42}, 1, [], 1, None),
        ({"action": "Ignore", **EXIT_42}, 42, [], 0, None),
        ({"action": "Count", **EXIT_42}, 42, [], 1, None),
        (
            {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [42]}},
            1,
            [],
            1,
            "PodFailurePolicy",
        ),
        (
            {
                "action": "FailJob",
                "onExitCodes": {"operator": "In", "values": [42], "containerName": "other"},
            },
            42,
            [],
            1,
            None,
        ),
        ({"action": "Ignore", **DISRUPTED}, 137, [{"type": "DisruptionTarget", "status": "True"}], 0, None),
        ({"action": "Ignore", **DISRUPTED}, 137, [{"type": "DisruptionTarget", "status": "False"}], 1, None),
    ],
)
def test_the_failure_policy_decides_what_a_failed_pod_means(
    rule: Object, code: int, conditions: list[Object], failed: int, reason: str | None
) -> None:
    item = job(podFailurePolicy={"rules": [rule]})
    status, freed, _ = step(item, ended("p", "Failed", code, conditions=conditions))
    assert len(status.get("uncountedTerminatedPods", {}).get("failed", [])) == failed
    assert len(freed) == 1
    assert [c["reason"] for c in status.get("conditions") or []] == ([reason] if reason else [])


def test_a_job_failed_by_its_policy_names_pod_code_and_rule() -> None:
    rules = [{"action": "Ignore", **DISRUPTED}, {"action": "FailJob", **EXIT_42}]
    status, _, _ = step(job(podFailurePolicy={"rules": rules}), ended("p", "Failed", 42))
    assert status["conditions"][0]["message"] == (
        "Container main for pod default/p failed with exit code 42 matching FailJob rule at index 1"
    )


def test_an_ending_pod_is_replaced_at_once_unless_only_failed_ones_are() -> None:
    ending = ended("p", "Running")
    ending["metadata"]["deletionTimestamp"] = timestamp(NOW)
    assert step(job(), ending)[2] == 1
    assert step(job(podFailurePolicy={"rules": []}), ending)[2] == 0
