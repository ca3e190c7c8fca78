"""A request to a model that sleeps wakes it and is held: nobody runs a command."""

from __future__ import annotations

import base64
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tasks.records.catalogue import load_model
from tasks.records.names import HOLDER, OWN_KEY_SECRET
from tasks.releases.ledger import Ledger
from tasks.releases.records import Start
from tests.support.held import Crowd
from tests.support.job_pool import IMAGE
from tests.support.project import Project, another_environment, edit
from tests.support.worker import working

pytestmark = pytest.mark.long

MODEL, WORKLOAD, WHERE = "tiny-llama", "vllm-tiny-llama", "sleepy"
CLUSTER, NAMESPACE, BUCKET = f"slipway-{WHERE}", f"llm-{WHERE}", f"slipway-{WHERE}-models"
TEARDOWN = ("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete")
PATIENCE = 180.0
REQUESTS, ARRIVE_SECONDS = 200, 8.0
LONGEST_SILENCE = 15.0  # what a load balancer on the way may be counted on to bear
LARGE = 12 * 2**20  # two of them are more than body_memory


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    """Where tiny-llama answers, in an environment of its own, whose nodes Karpenter makes and which it leaves when idle."""
    gpu = {"provisioner": "karpenter", "max": 1, "consolidate_after": "6s"}
    another_environment(project, WHERE, gpu)
    held = {"image": IMAGE, "heartbeat": "1s", "ramp": "2s", "body_memory": "20Mi"}
    edit(project.home / "environments" / f"{WHERE}.yaml", {"gateway": {"holder": held}})
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    edit(file, {"scaling": {"scale_to_zero": True, "idle_after": "3s", "start_budget": {"whole": "1s"}}})
    try:
        deployed = project.run("deploy", MODEL, "-e", WHERE).succeeded()
        (found,) = re.findall(r"^  endpoint +(\S+)$", deployed.output, re.MULTILINE)
        yield str(found)
    finally:
        file.write_text(before)
        if CLUSTER in project.client("eks").list_clusters()["clusters"]:
            project.run(*TEARDOWN)


def get(project: Project, path: str, **query: str) -> Any:
    with project.sandbox.api(CLUSTER) as api:
        answer = api.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.2)


def fall_asleep(project: Project) -> None:
    """Without a replica and without a node."""
    end = time.monotonic() + PATIENCE
    deployment = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{WORKLOAD}"
    while get(project, deployment)["spec"]["replicas"]:
        assert time.monotonic() < end, "never idle"
        project.run("scale-down", MODEL, "-e", WHERE).succeeded()
    assert get(project, "/apis/karpenter.sh/v1/nodeclaims")["items"] == []


def key(project: Project) -> str:
    secret = get(project, f"/api/v1/namespaces/{NAMESPACE}/secrets/{OWN_KEY_SECRET}")
    return base64.b64decode(next(iter(secret["data"].values()))).decode()


def log_of_the_holder(project: Project) -> str:
    pods = get(project, f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=f"app={HOLDER}")["items"]
    with project.sandbox.api(CLUSTER) as api:
        return "".join(
            api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/log").text for pod in pods
        )


def starts(project: Project) -> tuple[Start, ...]:
    ledger = Ledger(project.client("s3"), BUCKET, WHERE, MODEL)
    return ledger.record(ledger.serving().serving or "").starts


def test_a_whole_cold_start_costs_none_of_two_hundred_requests(project: Project, address: str) -> None:
    fall_asleep(project)
    crowd = Crowd(address, key(project), MODEL)
    crowd.begin(REQUESTS, ARRIVE_SECONDS)
    asked = crowd.end()
    assert [one.wrong for one in asked if one.wrong] == []
    assert len(asked) == REQUESTS
    # the model slept while they came: most were held, and heard that they are
    held = [one for one in asked if one.heartbeats]
    assert len(held) > REQUESTS / 2
    assert {one.streams for one in held} == {True, False}
    assert max(one.silence for one in asked) <= LONGEST_SILENCE
    log = log_of_the_holder(project)
    assert log.count("woken for") == 1
    told = [line for line in log.splitlines() if "went on" in line]
    assert told
    objective = load_model(MODEL, project.home).objectives.ttft
    assert objective and objective.p95
    took = [float(seconds) for line in told for seconds in re.findall(r"([\d.]+) s \(p95\)", line)]
    assert took
    assert max(took) <= 1.5 * objective.p95
    print(f"{len(held)} of {len(asked)} held; longest silence {max(one.silence for one in asked):.2f} s")
    print("\n".join(told))


def test_the_start_is_in_the_ledger_from_the_decision_to_the_first_token(
    project: Project, address: str
) -> None:
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:  # awake, whatever came before
        body = {"model": MODEL, "prompt": "Hello", "max_tokens": 4}
        headers = {"Authorization": f"Bearer {key(project)}"}
        client.post(f"{address}/completions", json=body, headers=headers).raise_for_status()
    done = project.run("scale-down", MODEL, "-e", WHERE).succeeded()
    start = starts(project)[-1]
    assert start.cause == "request"
    wanted = ["scaler", "node requested", "node ready", "scheduled", "weights", "ready", "first token"]
    assert [name for name in start.phases if name in wanted] == wanted
    assert "the whole start took" in done.output
    assert "last start: the whole start took" in project.run("status", "-e", WHERE).succeeded().output
    print(", ".join(f"{name} {took:.1f} s" for name, took in start.phases.items()))


def test_past_the_bound_a_request_is_refused_with_the_time_left(project: Project, address: str) -> None:
    fall_asleep(project)
    expected = starts(project)[-1].seconds
    headers = {"Authorization": f"Bearer {key(project)}"}
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 4, "stream": True, "user": "x" * LARGE}
    with (
        httpx.Client(trust_env=False, timeout=PATIENCE, headers=headers) as client,
        client.stream("POST", f"{address}/completions", json=body) as first,
    ):
        parts = first.iter_text()
        assert next(parts).startswith(f": {MODEL} is starting")
        refused = client.post(f"{address}/completions", json=body)
        rest = "".join(parts)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("requests", None, "rate_limit_exceeded")
    assert re.search(
        r"about \d+ s are left, by its last starts|how long it takes is not known", error["message"]
    )
    # 30 s where the start takes longer than the last one
    assert 0 < int(refused.headers["retry-after"]) <= max(expected + 1, 30)
    assert "[DONE]" in rest
    assert '"error"' not in rest


def holders(project: Project) -> list[int]:
    """Processes of the holder in this sandbox."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            mine = str(project.sandbox.root).encode() in (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"tasks.holding" in words and mine:
            found.append(int(entry.name))
    return found


def test_a_killed_holder_loses_no_request_silently(project: Project, address: str) -> None:
    fall_asleep(project)
    crowd = Crowd(address, key(project), MODEL)
    crowd.begin(10, 0.5)
    until(lambda: all(one.heartbeats for one in crowd.asked), "all are held")
    [process] = holders(project)
    os.kill(process, signal.SIGKILL)
    asked = crowd.end()
    assert {one.wrong.split(":")[0] for one in asked} == {"broken"}
    assert not any(one.well_formed for one in asked)
    # the next one holds what comes, and the model that was woken answers
    until(lambda: holders(project), "the holder runs again")
    again = Crowd(address, key(project), MODEL)
    until(lambda: answered(again), "requests are answered again")
    assert "woken for" not in log_of_the_holder(project)  # of the new process: one wake was enough


def answered(crowd: Crowd) -> bool:
    crowd.begin(2, 0.1)
    return not any(one.wrong for one in crowd.end())


def wakes(project: Project) -> list[dict[str, Any]]:
    """The runs of slipway-wake that a deployment made, as Prefect has them."""
    asked = {
        "flows": {"name": {"any_": ["slipway-wake"]}},
        "flow_runs": {"deployment_id": {"is_null_": False}},
    }
    answer = httpx.post(f"{project.environment['PREFECT_API_URL']}/flow_runs/filter", json=asked, timeout=30)
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    return found


def test_where_the_environment_says_so_one_run_of_the_wake_flow_wakes_it(
    project: Project, address: str
) -> None:
    holder = {"wake": "flow", "prefect_api_url": project.environment["PREFECT_API_URL"]}
    file = project.home / "environments" / f"{WHERE}.yaml"
    document = yaml.safe_load(file.read_text())
    document["gateway"]["holder"] |= holder
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    project.run("deploy", MODEL, "-e", WHERE, "--from-stage", "rollout").succeeded()
    fall_asleep(project)
    with working(project, WHERE):
        crowd = Crowd(address, key(project), MODEL)
        crowd.begin(20, 2.0)
        asked = crowd.end()
        assert [one.wrong for one in asked if one.wrong] == []
        assert all(one.heartbeats for one in asked)
        until(lambda: all(one["state_type"] == "COMPLETED" for one in wakes(project)), "the run has ended")
        (run,) = wakes(project)
    assert run["parameters"] == {"model": MODEL, "environment": WHERE}
    assert log_of_the_holder(project).count("woken for") == 1
    assert starts(project)[-1].cause == "request"
