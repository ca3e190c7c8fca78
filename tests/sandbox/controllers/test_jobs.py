"""Jobs over the API."""

from __future__ import annotations

from typing import Any

from sandbox.controllers.objects import JOBS, PODS, Object, condition_is, condition_of, status_of
from tests.sandbox.controllers.conftest import Cluster, pod_spec


def job(name: str, **spec: Any) -> Object:
    template = {"spec": pod_spec(restartPolicy="Never")}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"template": template, **spec}}


async def test_a_job_whose_pods_succeed_is_complete(cluster: Cluster) -> None:
    cluster.kubelet.ends["warm"] = "Succeeded"
    await cluster.node("a")
    await cluster.create(JOBS, job("warm", completions=3, parallelism=2))
    done = await cluster.until_that(JOBS, "warm", lambda j: condition_is(j, "Complete"))
    assert status_of(done)["succeeded"] == 3
    assert [c["type"] for c in status_of(done)["conditions"]] == ["SuccessCriteriaMet", "Complete"]
    assert status_of(done)["completionTime"]


async def test_a_job_whose_pods_fail_reaches_its_backoff_limit(cluster: Cluster) -> None:
    cluster.kubelet.ends["warm"] = "Failed"
    await cluster.node("a")
    await cluster.create(JOBS, job("warm", backoffLimit=1))
    done = await cluster.until_that(JOBS, "warm", lambda j: condition_is(j, "Failed"))
    assert condition_of(done, "Failed")["reason"] == "BackoffLimitExceeded"  # type: ignore[index]
    assert status_of(done)["failed"] == 2


async def test_a_job_that_runs_too_long_is_ended(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(JOBS, job("warm", activeDeadlineSeconds=1))
    done = await cluster.until_that(JOBS, "warm", lambda j: condition_is(j, "Failed"))
    assert condition_of(done, "Failed")["reason"] == "DeadlineExceeded"  # type: ignore[index]
    assert not await cluster.all(PODS)


async def test_a_finished_job_goes_with_its_pods_when_its_time_is_over(cluster: Cluster) -> None:
    cluster.kubelet.ends["warm"] = "Succeeded"
    await cluster.node("a")
    await cluster.create(JOBS, job("warm", ttlSecondsAfterFinished=0))
    await cluster.until_gone(JOBS, "warm")
    assert not await cluster.all(PODS)


async def test_a_suspended_job_has_no_pods_until_it_is_resumed(cluster: Cluster) -> None:
    cluster.kubelet.ends["warm"] = "Succeeded"
    await cluster.node("a")
    await cluster.create(JOBS, job("warm", suspend=True))
    await cluster.until_that(JOBS, "warm", lambda j: condition_is(j, "Suspended"))
    assert not await cluster.all(PODS)
    await cluster.patch(JOBS, "warm", {"spec": {"suspend": False}})
    await cluster.until_that(JOBS, "warm", lambda j: condition_is(j, "Complete"))
