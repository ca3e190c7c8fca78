"""A gateway that does not reach vLLM, and wrong answers that come through it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from slipway_sandbox.testing import Faults

from tasks.cloud.kubernetes import Cluster
from tasks.records.errors import RolloutFailed
from tasks.records.load import Load
from tasks.rollout import network
from tasks.rollout.manifests import load
from tasks.validation.proof import prove
from tests.support.builders import ROOT
from tests.support.gated import GatedRelease, OpenGateway, told
from tests.support.workloads import NAMESPACE, Quiet

Make = Callable[..., GatedRelease]
pytestmark = pytest.mark.timeout(240)


def test_the_path_from_the_gateway_is_cut_by_a_policy(
    release: Make, gpu_cluster: Cluster, faults: Faults
) -> None:
    one = release()
    opened = OpenGateway(one)
    assert opened.ask()
    deny = load(ROOT, "namespace/default-deny.yaml")
    gpu_cluster.apply(deny)  # and no policy that lets the gateway through: what the source documents had
    faults.set("path-cut", target=f"vllm-{one.model.name}*")
    try:
        cut = opened.ask_until_cut()
        failure = network.explain(gpu_cluster, NAMESPACE, one.workload, cut)
    finally:
        gpu_cluster.delete("networking.k8s.io/v1", "NetworkPolicy", "default-deny", NAMESPACE)
    assert failure.cause.startswith("network policies cut the path from the gateway to vLLM")
    assert "default-deny" in failure.cause
    assert "upstream timed out (110: " in told(failure)
    without = network.explain(gpu_cluster, NAMESPACE, one.workload, cut)
    assert "leave the path open" in told(without)


def test_another_name_is_served_and_another_key_is_taken(release: Make) -> None:
    opened = OpenGateway(release())
    with pytest.raises(RolloutFailed, match="vLLM serves another name than other"):
        opened.ask(name="other")
    with pytest.raises(RolloutFailed, match="does not take the API key"):
        opened.ask(key="sk-wrong")


def test_a_load_counts_stalls_errors_in_a_200_and_500s_as_what_they_are(
    release: Make, faults: Faults
) -> None:
    one = release()
    opened = OpenGateway(one)
    load = Load.model_validate(
        {
            "rate": 20,
            "warmup": "0s",
            "window": "2s",
            "drain": "5s",
            "stall": "1s",
            "prompt_tokens": {"mean": 8},
        }
        | {"output_tokens": {"mean": 8}}
    )
    for name in ("engine-stall", "engine-error-in-200", "engine-500"):
        faults.set(name, count=2)
    report = prove(
        one.model.model_copy(update={"load": load}), opened.endpoint, opened.key, Quiet(), root=ROOT
    )
    assert report.failures == {"stalled": 2, "error in a 200": 2, "http 500": 2}
    assert report.verdict == "FAIL"
