"""Causes that the simulated cluster does not show: nodes, pods and the words of others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.drill.explain import CAUSES, explain
from tasks.drill.observe import Details, Seen
from tasks.drill.scene import Scene
from tasks.drill.stages import Known, scaling_in, scaling_out
from tests.support.builders import a_model, an_environment

KARPENTER = an_environment(cluster={"gpu": {"provisioner": "karpenter"}})
SCALING = {"min_replicas": 1, "max_replicas": 2}


def a_scene(stage: str, environment: Any = KARPENTER, **details: Any) -> Scene:
    known = Known(
        environment, a_model(scaling=SCALING), frozenset(["first"]), frozenset(["node-1"]), "second"
    )
    pods = [{"metadata": {"name": "second", "labels": {}}}]
    return Scene(stage, known, Seen(0, pods, [], 2, 9.0), Details({}, {}, **details))


def test_every_stage_has_its_causes() -> None:
    model = a_model(scaling=SCALING)
    stages = [*scaling_out(model, KARPENTER, 60), *scaling_in(model, KARPENTER)]
    assert {stage.key for stage in stages} == {*CAUSES}
    assert all(stage.seconds > 0 for stage in stages)


def test_a_node_group_is_not_waited_for_to_lose_a_node() -> None:
    assert "node gone" not in {stage.key for stage in scaling_in(a_model(scaling=SCALING), an_environment())}


@pytest.mark.parametrize(
    ("scene", "cause"),
    [
        (a_scene("node", refusals=["NodeClaim: VcpuLimitExceeded"]), "no GPU node comes: the account's vCPU quota is used up"),
        (a_scene("node", an_environment()), "the second replica fits no node, and nothing enlarges the node group because of load"),
        (a_scene("node", refusals=["Karpenter: unbound"], claims_say=["claim c: Normal WaitForFirstConsumer: w", 'claim c: Warning ProvisioningFailed: storageclass "x" not found']), 'the second replica gets no volume: claim c: Warning ProvisioningFailed: storageclass "x" not found'),
        (a_scene("made", events=["Normal A: b", "Warning FailedCreate: no service account vllm"]), "the second replica cannot be made: Warning FailedCreate: no service account vllm"),
        (a_scene("running", events=["Warning FailedMount: no secret"]), "the second replica does not start: Warning FailedMount: no secret"),
        (a_scene("traffic"), "there is no Service vllm-llama"),
        (a_scene("gone"), "the replica that nobody asks for does not go away"),
        (a_scene("node gone", nodes=[{"metadata": {"name": "node-2", "annotations": {"karpenter.sh/do-not-disrupt": "true"}}}]), "the node node-2 has the annotation karpenter.sh/do-not-disrupt, by which Karpenter keeps it"),
        (a_scene("node gone", nodes=[{"metadata": {"name": "node-2"}}], on_nodes={"node-2": ["a/b"]}), "a/b keeps the node node-2"),
    ],
)  # fmt: skip
def test_what_was_seen_names_the_cause_and_a_next_command(scene: Scene, cause: str) -> None:
    found = explain(scene)
    assert found.cause == cause
    assert found.next_command


def test_others_who_use_the_model_are_no_fault_of_its_scaler() -> None:
    scene = a_scene("calm")
    assert not explain(scene).tells
    assert "others use the model" in explain(scene).cause
    silent = replace(scene, seen=replace(scene.seen, demand=None))
    assert explain(silent).tells


@pytest.mark.parametrize("stage", ["scaler", "demand", "asked", "calm", "given up"])
def test_a_prometheus_that_does_not_answer_is_told_in_its_own_words(stage: str) -> None:
    seen = replace(a_scene(stage).seen, demand=None, unanswered=("Prometheus does not answer", "here", "503"))
    found = explain(replace(a_scene(stage), seen=seen))
    assert found.evidence[-1:] == ("503",)
