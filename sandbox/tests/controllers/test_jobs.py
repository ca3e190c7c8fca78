"""Jobs over the API."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.controllers.objects import JOBS, PODS, Object, condition_is, condition_of, status_of
from tests.controllers.conftest import Cluster, pod_spec


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


async def test_a_pod_deleted_after_it_succeeded_stays_counted(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(JOBS, job("warm", completions=2, parallelism=1))

    async def succeeds(besides: str) -> str:
        """The next pod's name; it runs until here, so that nothing is counted before it is looked at."""

        async def running() -> str:
            named = [
                p["metadata"]["name"]
                for p in await cluster.all(PODS)
                if status_of(p).get("phase") == "Running"
            ]
            return next((name for name in named if name != besides), "")

        name: str = await cluster.until(running, "a pod that runs")
        await cluster.patch(PODS, name, {"status": {"phase": "Succeeded"}}, "status")
        return name

    first = await succeeds(besides="")
    await cluster.until_that(JOBS, "warm", lambda j: status_of(j).get("succeeded") == 1)
    await cluster.delete(PODS, first, gracePeriodSeconds=0)
    await cluster.until_gone(PODS, first)
    await succeeds(besides=first)
    done = await cluster.until_that(JOBS, "warm", lambda j: condition_is(j, "Complete"))
    assert status_of(done)["succeeded"] == 2
    assert status_of(done)["uncountedTerminatedPods"] == {}


async def test_a_job_that_is_deleted_frees_its_pods(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(JOBS, job("warm", parallelism=2, completions=2))

    async def two() -> bool:
        return len(await cluster.all(PODS)) == 2

    await cluster.until(two, "two pods")
    await cluster.delete(JOBS, "warm", propagationPolicy="Background")
    await cluster.until_gone(JOBS, "warm")

    async def none() -> bool:
        return not await cluster.all(PODS)

    await cluster.until(none, "no pods")


async def test_pods_of_an_orphaned_job_are_freed_and_stay(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(JOBS, job("warm"))

    async def tracked() -> bool:
        return any(p["metadata"].get("finalizers") for p in await cluster.all(PODS))

    await cluster.until(tracked, "a tracked pod")
    await cluster.delete(JOBS, "warm", propagationPolicy="Orphan")
    await cluster.until_gone(JOBS, "warm")

    async def freed() -> bool:
        pods = await cluster.all(PODS)
        return len(pods) == 1 and not pods[0]["metadata"].get("finalizers")

    await cluster.until(freed, "the pod is free")
