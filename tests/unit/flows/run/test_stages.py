"""The graph that deploy and promote share: who waits for whom, and what happens when a stage fails."""

from __future__ import annotations

from typing import Any

import pytest

from flows.run import stages
from flows.run.graph import Graph
from flows.run.stages import FirstStage, cost_of_output, take_through
from tasks.addons.task import read_addons
from tasks.records.errors import ChecksumMismatch, ClusterError, RolloutFailed, SlipwayError, ValidationFailed
from tasks.records.results import WeightsChoice
from tasks.records.stop import STOP
from tests.support.builders import a_model, an_environment, an_inspection
from tests.support.reports import a_run
from tests.support.stage import BEFORE, DEPLOYED, SITE, STAGED, Stage

FAILED = a_run(3).model_copy(update={"verdict": "FAIL", "reasons": ("ttft p95 is 900 ms", "bound 500 ms")})


def take(**over: Any) -> Any:
    return take_through(a_model(), an_environment(), an_inspection(), **over)


def test_warming_waits_for_the_weights_the_nodes_the_namespace_and_its_two_add_ons(stage: Stage) -> None:
    take()
    assert stage.recorded.edges["warm_cache"] == {
        "apply_cluster",
        "check_staged_evidence",
        "needed_commits",
        "prepare_namespace",
        "gpu_nodes",
        "add-on aws-ebs-csi-driver",
        "add-on snapshot-controller",
    }


@pytest.mark.parametrize(
    ("task", "waits_for"),
    [
        ("apply_storage", set()),
        ("apply_cluster", {"apply_storage"}),
        ("stage_model", {"apply_storage"}),  # not for the cluster: both take minutes
        ("gpu_nodes", {"apply_cluster"}),
        ("prepare_namespace", {"apply_cluster"}),
        ("sync_keys", {"apply_cluster", "prepare_namespace"}),
        ("needed_commits", {"apply_cluster"}),
        ("roll_out", set()),
        ("draw_page", {"validate"}),
        ("keep_page", {"draw_page"}),
        ("apply_alerts", {"mark_proven"}),
        ("end_fast_restores", {"mark_proven"}),
    ],
)
def test_a_task_waits_for_what_it_needs_and_nothing_else(
    stage: Stage, task: str, waits_for: set[str]
) -> None:
    take()
    assert stage.recorded.edges[task] == waits_for


def test_an_add_on_waits_for_what_it_needs_and_for_gpu_nodes_where_it_runs_on_them(stage: Stage) -> None:
    take()
    assert {addon.gpu_nodes for addon in read_addons(an_environment())} == {True, False}
    for addon in read_addons(an_environment()):
        expected = {"apply_cluster", *(f"add-on {need}" for need in addon.needs)}
        if addon.gpu_nodes:
            expected.add("gpu_nodes")
        assert stage.recorded.edges[f"add-on {addon.name}"] == expected


def test_karpenter_and_the_device_plugin_come_before_the_nodes_that_pods_ask_for(stage: Stage) -> None:
    where = an_environment(cluster={"gpu": {"provisioner": "karpenter"}})
    take_through(a_model(), where, an_inspection())
    called, edges = stage.recorded.called, stage.recorded.edges
    assert edges["gpu_nodes"] == {"apply_cluster", "add-on karpenter", "add-on nvidia-device-plugin"}
    assert called.count("add-on nvidia-device-plugin") == 2, "installed first, proven by a node after it"
    assert edges["add-on nvidia-device-plugin"] == {"apply_cluster", "gpu_nodes"}
    assert called.count("add-on karpenter") == 1
    assert "gpu_nodes" in edges["warm_cache"]


def test_nothing_moves_what_serves_before_all_that_can_be_prepared_is(stage: Stage) -> None:
    take()
    prepared = {
        "apply_storage",
        "apply_cluster",
        "stage_model",
        "gpu_nodes",
        "prepare_namespace",
        "sync_keys",
        "warm_cache",
    }
    called = stage.recorded.called
    assert prepared | {f"add-on {addon.name}" for addon in read_addons(an_environment())} <= {
        *called[: called.index("roll_out")]
    }
    assert stage.running_at["roll_out"] == []


def test_a_release_is_recorded_once_nothing_of_its_proof_runs(stage: Stage) -> None:
    take()
    called = stage.recorded.called
    assert called.index("roll_out") < called.index("validate") < called.index("keep_page")
    assert called.index("keep_page") < called.index("mark_proven")
    assert stage.running_at["mark_proven"] == []


@pytest.mark.parametrize("first", ["infrastructure", "staging", "rollout"])
def test_what_is_streamed_is_checked_and_not_warmed(stage: Stage, first: FirstStage) -> None:
    chosen = WeightsChoice(how="stream", why="a request wakes it")
    stage.does(stages, "choose_weights", chosen)
    take_through(a_model(weights="auto"), an_environment(), an_inspection(), first=first)
    called = stage.recorded.called
    assert called.index("check_staged") < called.index("check_staged_evidence") < called.index("roll_out")
    assert not {"warm_cache", "find_warm_cache", "end_fast_restores"} & set(called)
    assert chosen in stage.recorded.arguments["check_feasible"]
    assert chosen in stage.recorded.arguments["mark_proven"]


@pytest.mark.parametrize("first", ["infrastructure", "staging"])
def test_a_volume_is_filled_with_what_is_held_to_the_signed_evidence(stage: Stage, first: FirstStage) -> None:
    take_through(a_model(), an_environment(), an_inspection(), first=first)
    called = stage.recorded.called
    assert called.index("stage_model") < called.index("check_staged_evidence") < called.index("warm_cache")
    assert "stage_model" in stage.recorded.edges["check_staged_evidence"]


@pytest.mark.parametrize("first", ["infrastructure", "staging"])
def test_no_volume_is_filled_with_what_is_not_what_was_signed_for(stage: Stage, first: FirstStage) -> None:
    stage.does(stages, "check_staged_evidence", ChecksumMismatch("not what was signed for"))
    with pytest.raises(ChecksumMismatch, match="not what was signed for"):
        take_through(a_model(), an_environment(), an_inspection(), first=first)
    assert "warm_cache" not in stage.recorded.called


def test_what_was_proven_last_is_read_before_the_rollout_overwrites_it(stage: Stage) -> None:
    take()
    called = stage.recorded.called
    assert called.index("last_proven") < called.index("roll_out") > called.index("last_swept")
    assert stage.recorded.arguments["validate"][-3:] == (BEFORE, False, "cluster")


def test_preflight_comes_before_everything(stage: Stage) -> None:
    stage.does(stages, "check_feasible", SlipwayError("too big"))
    with pytest.raises(SlipwayError, match="too big"):
        take()
    assert stage.recorded.called == ["choose_weights", "check_feasible"]


def test_a_proven_release_is_what_comes_back(stage: Stage) -> None:
    assert take() == DEPLOYED
    assert "undo" not in stage.recorded.called
    assert stage.running_at["end of the turn"] == []


def test_what_is_promoted_is_copied_and_the_hub_is_not_asked(stage: Stage) -> None:
    take(proven=STAGED)
    assert stage.recorded.arguments["copy_model"][-1] == STAGED
    assert "stage_model" not in stage.recorded.called
    assert "copy_model" in stage.recorded.edges["check_staged_evidence"]


def test_both_terraform_roots_are_told_what_may_be_destroyed(stage: Stage) -> None:
    take(may_destroy=["aws_s3_bucket.models"])
    for task in ("apply_storage", "apply_cluster"):
        assert ["aws_s3_bucket.models"] in stage.recorded.arguments[task]


def test_from_staging_on_infrastructure_and_add_ons_are_looked_at_and_not_made(stage: Stage) -> None:
    assert take(first="staging") == DEPLOYED
    called = set(stage.recorded.called)
    assert {"read_infrastructure", "find_addon", "gpu_nodes", "stage_model", "warm_cache"} <= called
    assert not {"apply_storage", "apply_cluster", "install_addon", "find_staged"} & called
    assert {"check_staged_evidence", "gpu_nodes", "find_addon"} <= stage.recorded.edges["warm_cache"]


def test_from_the_rollout_on_the_weights_are_looked_at_too(stage: Stage) -> None:
    assert take(first="rollout") == DEPLOYED
    called = set(stage.recorded.called)
    assert {"find_addon", "find_staged", "find_warm_cache", "roll_out", "validate"} <= called
    assert not {"apply_storage", "apply_cluster", "install_addon", "stage_model", "warm_cache"} & called
    assert stage.running_at["roll_out"] == []


@pytest.mark.parametrize("failing", ["read_infrastructure", "find_addon", "find_staged", "find_warm_cache"])
def test_what_is_not_there_is_told_before_anything_moves(stage: Stage, failing: str) -> None:
    stage.fails(failing, ClusterError("it is not there"))
    with pytest.raises(ClusterError, match="it is not there"):
        take(first="rollout")
    assert not {"roll_out", "undo"} & {*stage.recorded.called}


@pytest.mark.parametrize(
    "failing", ["apply_storage", "apply_cluster", "stage_model", "gpu_nodes", "install_addon", "warm_cache"]
)
def test_a_stage_that_fails_before_the_rollout_leaves_nothing_running_and_undoes_nothing(
    stage: Stage, failing: str
) -> None:
    stage.fails(failing, ClusterError("it broke"))
    with pytest.raises(ClusterError, match="it broke"):
        take()
    assert stage.running_at["end of the turn"] == []
    assert not {"roll_out", "undo"} & {*stage.recorded.called}


def test_the_cause_is_told_and_not_what_never_ran_for_it(stage: Stage) -> None:
    stage.fails("apply_storage", ClusterError("no bucket"))
    with pytest.raises(ClusterError, match="no bucket"):
        take()
    assert "warm_cache" not in stage.recorded.called


@pytest.mark.parametrize("failing", ["roll_out", "validate", "draw_page", "keep_page"])
def test_a_failure_from_the_rollout_on_is_undone_once_nothing_runs_any_more(
    stage: Stage, failing: str
) -> None:
    stage.fails(failing, RolloutFailed("it broke"))
    with pytest.raises(RolloutFailed, match="it broke"):
        take()
    assert stage.recorded.called[-1] == "undo"
    assert stage.recorded.arguments["undo"] == (SITE, a_model())
    assert stage.running_at["undo"] == []
    assert "mark_proven" not in stage.recorded.called


def test_ctrl_c_in_the_load_is_undone_with_waits_possible_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def interrupted(graph: Any) -> None:
        if "validate" in stage.recorded.edges and not seen:
            seen.append("interrupt")
            STOP.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(Graph, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        take()
    assert stage.recorded.called[-1] == "undo"
    assert stage.running_at["undo"] == []
    assert not STOP.is_set()


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_a_release_that_is_not_proven_is_undone_its_report_and_page_kept(stage: Stage, verdict: str) -> None:
    report = FAILED.model_copy(update={"verdict": verdict})
    stage.does(stages, "validate", report)
    with pytest.raises(ValidationFailed, match=f"llama: {verdict}: ttft p95 is 900 ms") as failure:
        take()
    assert stage.recorded.called[-3:] == ["keep_page", "keep_evidence", "undo"]
    assert stage.recorded.arguments["keep_evidence"][-1] == report
    assert failure.value.evidence == ("bound 500 ms",)


def test_an_undo_that_fails_tells_both(stage: Stage) -> None:
    stage.does(stages, "validate", FAILED)
    stage.does(
        stages,
        "undo",
        RolloutFailed("no GPU is free", evidence=["pod x Pending"], next_command="kubectl get pods"),
    )
    with pytest.raises(RolloutFailed) as failure:
        take()
    assert failure.value.cause == (
        "load validation of llama: FAIL: ttft p95 is 900 ms; and what served before could not be put back: "
        "no GPU is free"
    )
    assert failure.value.evidence == ("bound 500 ms", "pod x Pending")
    assert failure.value.next_command == "kubectl get pods"


def test_a_ledger_that_cannot_be_written_does_not_undo_what_was_proven(stage: Stage) -> None:
    """The next run finds the rollout unfinished and proves it again."""
    stage.fails("mark_proven", ClusterError("S3 does not answer"))
    with pytest.raises(ClusterError, match="S3 does not answer"):
        take()
    assert "undo" not in stage.recorded.called


@pytest.mark.parametrize(
    ("hour", "replicas", "tokens", "told"),
    [
        (1.2, 1, 1000.0, "0.33 USD per million tokens at the proven 1,000/s, GPUs alone (1 x 1.200 an hour)"),
        (1.2, 2, 1000.0, "0.67 USD per million tokens at the proven 1,000/s, GPUs alone (2 x 1.200 an hour)"),
        (None, 1, 1000.0, ""),
        (1.2, 1, 0.0, ""),
    ],
)
def test_output_costs_what_its_gpus_cost_at_the_proven_rate(
    hour: float | None, replicas: int, tokens: float, told: str
) -> None:
    report = a_run(1).model_copy(update={"output_tokens_per_second": tokens})
    assert cost_of_output(hour, replicas, report) == told
