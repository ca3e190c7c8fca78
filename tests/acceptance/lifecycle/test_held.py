"""A request to a model that sleeps wakes it and is held: nobody runs a command."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tasks.records.names import KEY_ENTRY, OWN_KEY_SECRET
from tests.support.job_pool import IMAGE
from tests.support.project import Project, another_environment, edit

pytestmark = pytest.mark.long

MODEL, WORKLOAD, WHERE = "tiny-llama", "vllm-tiny-llama", "sleepy"
CLUSTER, NAMESPACE = f"slipway-{WHERE}", f"llm-{WHERE}"
TEARDOWN = ("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete")
PATIENCE = 180.0


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    """Where tiny-llama answers, in an environment of its own, whose nodes Karpenter makes and which it leaves when idle."""
    gpu = {"provisioner": "karpenter", "max": 1, "consolidate_after": "6s"}
    another_environment(project, WHERE, gpu)
    edit(
        project.home / "environments" / f"{WHERE}.yaml",
        {"gateway": {"holder": {"image": IMAGE, "heartbeat": "1s", "ramp": "2s"}}},
    )
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    edit(file, {"scaling": {"scale_to_zero": True, "idle_after": "3s"}})
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


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.2)


def fall_asleep(project: Project) -> None:
    end = time.monotonic() + PATIENCE
    while "scaled to zero" not in project.run("scale-down", MODEL, "-e", WHERE).succeeded().output:
        assert time.monotonic() < end, "never idle"


def asking(project: Project, address: str) -> httpx.Client:
    """A client with Slipway's own key."""
    secret = get(project, f"/api/v1/namespaces/{NAMESPACE}/secrets/{OWN_KEY_SECRET}")
    key = base64.b64decode(secret["data"][KEY_ENTRY]).decode()
    return httpx.Client(
        base_url=address, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE, trust_env=False
    )


def question(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, **more}


def test_a_request_wakes_the_model_and_is_answered(project: Project, address: str) -> None:
    fall_asleep(project)
    assert get(project, "/apis/karpenter.sh/v1/nodeclaims")["items"] == []
    with asking(project, address) as client:
        answer = client.post("chat/completions", json=question())
    assert answer.status_code == 200
    assert answer.content.startswith(b" ")
    assert json.loads(answer.content)["choices"][0]["finish_reason"]
