from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.cloud.aws import Aws
from tasks.preflight.capability import capability_of
from tasks.preflight.checks import Check, Facts, instance_type, judge, observe, quota_need, require, table
from tasks.preflight.nodes import InstanceType
from tasks.preflight.quota import QuotaNeed
from tasks.rollout.manifests import serving
from tasks.spec.errors import PreflightFailed
from tests.tasks.builders import LLAMA, ROOT, WEIGHTS, a_cache, a_model, an_environment, an_inspection

GIB = 2**30
FACTS = Facts(
    account="123456789012",
    instance=InstanceType("g5.2xlarge", 8, 32 * GIB, 1, 24 * GIB, "NVIDIA A10G", 58),
    zones=("us-east-1a", "us-east-1b"),
    zone="us-east-1a",
    quota=QuotaNeed("L-DB2E81BA", 64, 0, 8),
)


def judged(
    facts: Facts = FACTS, inspection: Any = None, environment: Any = None, **model: Any
) -> dict[str, Check]:
    asked, where = a_model(**model), an_environment()
    documents = serving(ROOT, asked, where, cache=a_cache(), strategy="RollingUpdate", weight_bytes=WEIGHTS)
    checks = judge(asked, environment or where, inspection or an_inspection(), facts, documents)
    return {check.name: check for check in checks}


def test_a_run_that_can_succeed_passes_every_check() -> None:
    assert {check.status for check in judged().values()} == {"ok"}


@pytest.mark.parametrize(
    ("case", "failing"),
    [
        ({"inspection": an_inspection(weight_bytes=0)}, "repo"),
        ({"inspection": an_inspection(weights="pytorch_model.bin")}, "repo"),
        ({"inspection": an_inspection(weight_bytes=30 * GIB)}, "GPU memory"),
        ({"engine": {"max_model_len": 100_000}}, "GPU memory"),
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
        ({"facts": replace(FACTS, zones=())}, "zones"),
        ({"facts": replace(FACTS, quota=QuotaNeed("L-DB2E81BA", 0, 0, 8))}, "vCPU quota"),
        ({"environment": an_environment(cluster={"gpu": {"label_value": "other"}})}, "placement"),
    ],
)
def test_what_cannot_succeed_fails_one_check_with_a_next_step(case: dict[str, Any], failing: str) -> None:
    found = judged(**case)
    assert [name for name, check in found.items() if check.status == "fail"] == [failing]
    assert found[failing].next_command


def test_an_instance_without_gpu_is_told_as_that() -> None:
    instance = InstanceType("m6i.2xlarge", 8, 32 * GIB, 0, 0, "no GPU", 58)
    assert "has no GPU" in judged(replace(FACTS, instance=instance))["GPU memory"].detail


def test_a_config_that_does_not_say_its_sizes_is_warned_about_and_not_judged() -> None:
    found = judged(inspection=an_inspection({"model_type": "gpt2"}))
    assert found["GPU memory"].status == "warn"
    assert found["context"].status == "ok"


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


# ------------------------------------------------------------------- over AWS


def test_an_instance_type_is_read_as_ec2_describes_it(stage_aws: Aws) -> None:
    found = instance_type(stage_aws, "g5.2xlarge")
    assert (found.vcpus, found.memory, found.gpus, found.max_pods) == (8, 32 * GIB, 1, 58)
    assert 22 * GIB < found.gpu_memory <= 24 * GIB
    assert "A10G" in found.gpu_name


@pytest.mark.parametrize(
    ("kind", "capability"),
    [
        ("g4dn.xlarge", 75),
        ("g5g.xlarge", 75),
        ("g5.xlarge", 86),
        ("g6.xlarge", 89),
        ("g6e.xlarge", 89),
        ("g7e.2xlarge", 120),
        ("p3dn.24xlarge", 70),
        ("p4d.24xlarge", 80),
        ("p4de.24xlarge", 80),
        ("p5.48xlarge", 90),
        ("p5en.48xlarge", 90),
        ("p6-b200.48xlarge", 100),
    ],
)
def test_the_gpus_ec2_names_have_a_known_compute_capability(
    stage_aws: Aws, kind: str, capability: int
) -> None:
    assert capability_of(instance_type(stage_aws, kind).gpu_name) == capability


def test_an_instance_type_that_does_not_exist_is_told_as_that(stage_aws: Aws) -> None:
    with pytest.raises(PreflightFailed, match=r"no instance type g99\.large in us-east-1"):
        instance_type(stage_aws, "g99.large")


def test_everything_is_read_without_changing_anything(stage_aws: Aws) -> None:
    facts = observe(an_environment(), stage_aws)
    assert facts.account == "123456789012"
    assert facts.zones
    assert facts.quota


class Running:
    """What EC2 says is running; the sandbox's EC2 leaves CpuOptions out, so it is written down here."""

    def __init__(self, aws: Aws, *instances: dict[str, Any]) -> None:
        self._aws, self._instances = aws, instances

    def client(self, service: str) -> Any:
        return self if service == "ec2" else self._aws.client(service)

    def get_paginator(self, operation: str) -> Any:
        return self

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        return [{"Reservations": [{"Instances": list(self._instances)}]}]


def an_instance(kind: str = "g5.2xlarge", cluster: str = "", lifecycle: str = "") -> dict[str, Any]:
    found = {
        "InstanceType": kind,
        "CpuOptions": {"CoreCount": 4, "ThreadsPerCore": 2},
        "Tags": [{"Key": "eks:cluster-name", "Value": cluster}] if cluster else [],
    }
    return found | ({"InstanceLifecycle": lifecycle} if lifecycle else {})


@pytest.mark.parametrize(
    ("running", "capacity", "used", "needed"),
    [
        ([], "ON_DEMAND", 0, 8),
        ([an_instance()], "ON_DEMAND", 8, 8),
        ([an_instance(cluster="slipway-staging")], "ON_DEMAND", 8, 0),  # our node runs already
        ([an_instance("m6i.2xlarge")], "ON_DEMAND", 0, 8),
        ([an_instance("p4d.24xlarge")], "ON_DEMAND", 0, 8),
        ([an_instance()], "SPOT", 0, 8),  # what runs on demand does not count against the spot quota
        ([an_instance(lifecycle="spot")], "SPOT", 8, 8),
        ([an_instance(lifecycle="spot")], "ON_DEMAND", 0, 8),
    ],
)
def test_what_a_quota_has_left(
    stage_aws: Aws, running: list[dict[str, Any]], capacity: str, used: float, needed: float
) -> None:
    environment = an_environment(cluster={"gpu": {"capacity_type": capacity}})
    aws: Any = Running(stage_aws, *running)
    need = quota_need(environment, aws, FACTS.instance)
    assert need
    assert (need.used, need.needed) == (used, needed)
