"""Two replicas need two nodes of one GPU each: a deploy, a scale-down and a wake bring and take both."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.commands import Done
from tests.support.project import ENVIRONMENT, Project, edit

pytestmark = pytest.mark.long

MODEL = "tiny-llama"
IDLE_SECONDS = 120.0


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    """A deploy of tiny-llama with two replicas at least."""
    project.serve()
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    edit(file, {"scaling": {"min_replicas": 2, "max_replicas": 2}})
    try:
        yield project.deploy().succeeded()
    finally:
        file.write_text(before)


def nodes_of_ready_pods(project: Project) -> list[str]:
    pods = project.get("/api/v1/namespaces/llm/pods", labelSelector=f"slipway.dev/model={MODEL}")["items"]
    return sorted(
        pod["spec"]["nodeName"]
        for pod in pods
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        and "deletionTimestamp" not in pod["metadata"]
    )


@pytest.mark.usefixtures("deployed")
def test_each_replica_has_a_node(project: Project) -> None:
    nodes = nodes_of_ready_pods(project)
    assert (len(nodes), len({*nodes}), project.gpu_nodes()) == (2, 2, 2)


@pytest.mark.usefixtures("deployed")
def test_asleep_there_is_no_node_and_a_wake_brings_both(project: Project) -> None:
    end = time.monotonic() + IDLE_SECONDS
    while "scaled to zero" not in project.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output:
        assert time.monotonic() < end, "never idle"
    assert (nodes_of_ready_pods(project), project.gpu_nodes()) == ([], 0)
    woken = project.run("wake", MODEL, "-e", ENVIRONMENT).succeeded()
    assert "asking for 2" in woken.output
    nodes = nodes_of_ready_pods(project)
    assert (len(nodes), len({*nodes}), project.gpu_nodes()) == (2, 2, 2)
    assert project.complete()
