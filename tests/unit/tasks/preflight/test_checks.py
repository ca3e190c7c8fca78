from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.cloud.prices import Prices
from tasks.cloud.registry import Image
from tasks.preflight.checks import Check, judge, require, table
from tasks.preflight.facts import Facts, Support
from tasks.preflight.network_quota import Need
from tasks.preflight.nodes import InstanceType
from tasks.preflight.quota import QuotaNeed
from tasks.records.errors import PreflightFailed
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import LLAMA, ROOT, WEIGHTS, a_cache, a_model, an_environment, an_inspection

GIB = 2**30
FACTS = Facts(
    account="123456789012",
    instance=InstanceType("g5.2xlarge", 8, 32 * GIB, 1, 24 * GIB, "NVIDIA A10G", 58),
    zones=("us-east-1a", "us-east-1b"),
    zone="us-east-1a",
    quota=QuotaNeed("L-DB2E81BA", 64, 0, 8),
    support=Support("STANDARD_SUPPORT", "2027-03-27"),
    network=(Need("VPCs", "vpc", "L-F678F1CE", 5, 1, 1),),
    prices=Prices({"control plane": 0.1, "NAT gateway": 0.045, "m6i.large": 0.096, "g5.2xlarge": 1.212}),
    node_release="1.35.4-20260714",
    image=Image(10_300_000_000, "13.0.3"),
)


def judged(
    facts: Facts = FACTS, inspection: Any = None, environment: Any = None, **model: Any
) -> dict[str, Check]:
    asked, where = a_model(**model), an_environment()
    documents = serving(ROOT, asked, where, Weights.of(a_cache(snapshot="warm"), WEIGHTS))
    checks = judge(asked, environment or where, inspection or an_inspection(), facts, documents)
    return {check.name: check for check in checks}


@pytest.mark.parametrize(
    ("offered", "status", "said"),
    [
        (("us-east-1a", "us-east-1b"), "ok", "is offered in us-east-1a, us-east-1b"),
        (("us-east-1a",), "warn", "not in us-east-1b of cluster.gpu.other_zones"),
        (("us-east-1b",), "fail", "is not offered in us-east-1a"),
        ((), "fail", "is not offered in"),
    ],
)
def test_a_type_is_looked_for_in_every_zone_that_nodes_may_be_in(
    offered: tuple[str, ...], status: str, said: str
) -> None:
    zones = ["us-east-1a", "us-east-1b"]
    gpu = {"provisioner": "karpenter", "zone": zones[0], "other_zones": zones[1:]}
    where = an_environment(cluster={"zones": zones, "gpu": gpu})
    row = judged(replace(FACTS, zones=offered), environment=where)["zones"]
    assert (row.status, said in row.detail) == (status, True), row


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"name": "g6.2xlarge"}, "ok", "the model runs on g6.2xlarge too"),
        ({"gpu_memory": 8 * GIB}, "fail", "x.large: GPU memory: "),
        ({"architectures": ("arm64",)}, "fail", "x.large: compute: "),
        # Karpenter takes no node that the pod does not fit
        ({"memory": 8 * GIB}, "warn", "x.large: node room: "),
    ],
)
def test_the_model_is_judged_on_every_type_that_karpenter_may_take(
    change: dict[str, Any], status: str, said: str
) -> None:
    other = replace(FACTS.instance, **{"name": "x.large", **change})
    row = judged(replace(FACTS, alternatives=(other,)))["alternative types"]
    assert (row.status, row.detail.startswith(said)) == (status, True), row


def test_what_fails_on_the_first_type_is_not_told_of_the_others_again() -> None:
    small = replace(FACTS.instance, gpu_memory=8 * GIB)
    rows = judged(replace(FACTS, instance=small, alternatives=(replace(small, name="x.large"),)))
    assert (rows["GPU memory"].status, rows["alternative types"].status) == ("fail", "ok")


def test_the_back_end_of_the_gateway_has_a_row_where_it_is_not_nginx() -> None:
    where = an_environment(gateway={"backend": "litellm"})
    assert "gateway" not in judged()
    assert judged(environment=where)["gateway"].status == "ok"
    row = judged(environment=where, scaling={"scale_to_zero": True})["gateway"]
    assert (row.status, row.detail.startswith("LiteLLM holds no request")) == ("fail", True)
    assert row.next_command.startswith("set gateway.backend: nginx in environments/")


def test_a_run_that_can_succeed_passes_every_check() -> None:
    assert {check.status for check in judged().values()} == {"ok"}


@pytest.mark.parametrize(
    ("case", "failing"),
    [
        ({"inspection": an_inspection(weight_bytes=0)}, "repo"),
        ({"inspection": an_inspection(weights="pytorch_model.bin")}, "repo"),
        ({"inspection": an_inspection(weight_bytes=30 * GIB)}, "GPU memory"),
        ({"engine": {"max_model_len": 100_000}}, "GPU memory"),
        ({"inspection": an_inspection({**LLAMA, "architectures": ["FooForCausalLM"]})}, "architecture"),
        ({"inspection": an_inspection().model_copy(update={"documents": {}})}, "tokenizer"),
        ({"facts": replace(FACTS, zone_ids={"us-east-1a": "use1-az3"})}, "zones"),
        ({"facts": replace(FACTS, instance=replace(FACTS.instance, architectures=("arm64",)))}, "compute"),
        ({"engine": {"tensor_parallel_size": 2}}, "ranks"),
        ({"engine": {"extra_args": ["--enable-magic"]}}, "engine flags"),
        (
            {
                "facts": replace(FACTS, instance=replace(FACTS.instance, gpu_name="NVIDIA T4")),
                "engine": {"dtype": "bfloat16"},
            },
            "compute",
        ),
        ({"inspection": an_inspection({**LLAMA, "max_position_embeddings": 4096})}, "context"),
        ({"resources": {"memory": "64Gi"}}, "node room"),
        ({"resources": {"gpu": 2}, "engine": {"tensor_parallel_size": 2}}, "node room"),
        ({"scaling": {"max_replicas": 3}}, "GPU nodes"),
        ({"facts": replace(FACTS, zones=())}, "zones"),
        ({"facts": replace(FACTS, support=None)}, "kubernetes"),
        ({"facts": replace(FACTS, support=Support("UNSUPPORTED", "2024-01-01"))}, "kubernetes"),
        ({"facts": replace(FACTS, foreign_buckets={"acme-state": "another account's"})}, "buckets"),
        ({"facts": replace(FACTS, quota=QuotaNeed("L-DB2E81BA", 0, 0, 8))}, "vCPU quota"),
        ({"environment": an_environment(cluster={"gpu": {"label_value": "other"}})}, "placement"),
    ],
)
def test_what_cannot_succeed_fails_one_check_with_a_next_step(case: dict[str, Any], failing: str) -> None:
    found = judged(**case)
    assert [name for name, check in found.items() if check.status == "fail"] == [failing]
    assert found[failing].next_command


def test_extended_support_is_warned_about_with_the_day_it_began() -> None:
    row = judged(replace(FACTS, support=Support("EXTENDED_SUPPORT", "2026-07-29")))["kubernetes"]
    assert (row.status, "since 2026-07-29" in row.detail) == ("warn", True)


def test_an_instance_without_gpu_is_told_as_that() -> None:
    instance = InstanceType("m6i.2xlarge", 8, 32 * GIB, 0, 0, "no GPU", 58)
    assert "has no GPU" in judged(replace(FACTS, instance=instance))["GPU memory"].detail


def test_a_config_that_does_not_say_its_sizes_is_warned_about_and_not_judged() -> None:
    found = judged(inspection=an_inspection({"model_type": "of-nobody", "auto_map": {"AutoConfig": "c.C"}}))
    assert found["GPU memory"].status == "warn"
    assert found["context"].status == "ok"


@pytest.mark.parametrize(
    ("scaling", "limit", "status", "detail"),
    [
        ({}, 64, "ok", "1 of 2 g5.2xlarge for 1 to 1 replicas"),
        ({"max_replicas": 2}, 64, "ok", "1 to 2 of 2 g5.2xlarge for 1 to 2 replicas"),
        (
            {"max_replicas": 2},
            8,
            "warn",
            "1 to 2 of 2 g5.2xlarge for 1 to 2 replicas; the vCPU quota allows 1",
        ),
        (
            {"max_replicas": 3},
            64,
            "fail",
            "1 to 3 of 2 g5.2xlarge for 1 to 3 replicas: replicas without a node stay Pending",
        ),
    ],
)
def test_the_nodes_of_the_most_replicas_are_held_against_maximum_and_quota(
    scaling: dict[str, int], limit: int, status: str, detail: str
) -> None:
    row = judged(replace(FACTS, quota=QuotaNeed("L-DB2E81BA", limit, 0, 8)), scaling=scaling)["GPU nodes"]
    assert (row.status, row.detail) == (status, detail)


def test_a_quota_that_nobody_knows_is_a_warning() -> None:
    assert judged(replace(FACTS, quota=None))["vCPU quota"].status == "warn"


def test_the_quotas_next_step_asks_for_enough() -> None:
    found = judged(replace(FACTS, quota=QuotaNeed("L-DB2E81BA", 8, 8, 8)))["vCPU quota"]
    assert "--quota-code L-DB2E81BA --desired-value 16" in found.next_command


def test_warnings_do_not_end_a_run() -> None:
    require([Check("a", "ok", "x"), Check("b", "warn", "y")])


def test_every_failure_is_told_and_the_first_leads() -> None:
    checks = [Check("a", "ok", "x"), Check("b", "fail", "no GPU", "buy one"), Check("c", "fail", "no zone")]
    with pytest.raises(PreflightFailed, match="b: no GPU") as caught:
        require(checks)
    assert caught.value.evidence == ("c: no zone",)
    assert caught.value.next_command == "buy one"


def test_the_table_has_a_row_for_every_check() -> None:
    assert [row["check"] for row in table(list(judged().values()))] == list(judged())
