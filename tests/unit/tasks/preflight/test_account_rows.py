"""The rows about the account, each from recorded facts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.cloud.prices import Prices
from tasks.cloud.registry import Image
from tasks.cloud.spot_prices import SpotPrices
from tasks.preflight.cost import items, judge_ceiling, judge_cost, replica_hour
from tasks.preflight.driver import RECORDED, driver_of, judge_driver
from tasks.preflight.network_quota import Need, judge_network
from tasks.preflight.placeholders import judge_placeholders
from tasks.preflight.pull import judge_pull
from tasks.preflight.volume_key import judge_volume_key
from tasks.records.catalogue import load_environment
from tests.support.builders import a_model, an_environment

PRICES = Prices(
    {"control plane": 0.1, "extended support": 0.5, "NAT gateway": 0.045, "m6i.large": 0.1, "g5.2xlarge": 1.2}
)
VLLM = Image(10_300_000_000, "13.0.3")


# ------------------------------------------------------------------- cost


@pytest.mark.parametrize(
    ("cluster", "extended", "usd"),
    [
        ({}, False, 0.1 + 0.045 + 2 * 0.1 + 1.2),
        ({}, True, 0.1 + 0.5 + 0.045 + 2 * 0.1 + 1.2),
        ({"nat": "per_zone"}, False, 0.1 + 2 * 0.045 + 2 * 0.1 + 1.2),
        ({"system": {"count": 3}, "gpu": {"desired": 2}}, False, 0.1 + 0.045 + 3 * 0.1 + 2 * 1.2),
        ({"gpu": {"min": 0, "desired": 0}}, False, 0.1 + 0.045 + 2 * 0.1 + 1.2),
    ],
)
def test_a_deploy_costs_what_it_makes(cluster: dict[str, Any], extended: bool, usd: float) -> None:
    found = items(an_environment(cluster=cluster), PRICES, extended=extended)
    assert sum(item.usd or 0 for item in found) == pytest.approx(usd)


def test_the_sum_and_its_parts_are_told() -> None:
    row = judge_cost(an_environment(), PRICES, SpotPrices(), extended=False)
    assert row.status == "ok"
    assert row.detail.startswith(
        "1.54 USD an hour: 1 control plane 0.100, 1 NAT gateway 0.045, 2 m6i.large 0.200"
    )


@pytest.mark.parametrize(
    ("gpu", "end"),
    [
        ({"max": 3}, "; 3.94 USD an hour with 3 g5.2xlarge, the most that cluster.gpu.max allows"),
        ({"max": 1}, "besides)"),  # the first deploy has as many
    ],
)
def test_what_the_most_gpu_nodes_would_cost_is_told(gpu: dict[str, Any], end: str) -> None:
    row = judge_cost(an_environment(cluster={"gpu": gpu}), PRICES, SpotPrices(), extended=False)
    assert row.detail.endswith(end)


@pytest.mark.parametrize(
    ("capacity", "spot", "end"),
    [
        ("ON_DEMAND", {}, "besides)"),
        ("SPOT", {"a": 0.5}, "; list prices, on spot now: g5.2xlarge 0.500 in a"),
        ("SPOT_OR_ON_DEMAND", {"a": 0.6, "b": 0.5}, "on spot now: g5.2xlarge 0.500 in b to 0.600 in a"),
        ("SPOT", {}, "on spot now: g5.2xlarge unknown (no right to ask)"),
    ],
)
def test_what_spot_costs_now_is_told_where_nodes_may_be_spot(
    capacity: str, spot: dict[str, float], end: str
) -> None:
    gpu = {"max": 1, "capacity_type": capacity, "provisioner": "karpenter"}
    prices = SpotPrices(
        {("g5.2xlarge", zone): ((datetime(2026, 11, 30, tzinfo=UTC), usd),) for zone, usd in spot.items()},
        "no right to ask",
    )
    row = judge_cost(an_environment(cluster={"gpu": gpu}), PRICES, prices, extended=False)
    assert row.status == "ok"
    assert row.detail.endswith(end)


def test_an_unknown_price_is_told_as_that() -> None:
    row = judge_cost(
        an_environment(), Prices({"control plane": 0.1}, "it did not answer"), SpotPrices(), extended=False
    )
    assert row.status == "warn"
    assert row.detail.startswith("at least 0.10 USD an hour")
    assert "it did not answer" in row.detail


# ------------------------------------------------------------------- quotas


def test_what_fits_the_quotas_passes_and_a_second_deploy_needs_nothing() -> None:
    assert judge_network([Need("VPCs", "vpc", "L-F678F1CE", 5, 4, 1)]).status == "ok"
    assert judge_network([Need("VPCs", "vpc", "L-F678F1CE", 5, 5, 0)]).status == "ok"


def test_a_quota_that_is_used_up_names_its_request() -> None:
    row = judge_network(
        [Need("VPCs", "vpc", "L-F678F1CE", 5, 1, 1), Need("elastic IPs", "ec2", "L-0263D0A3", 5, 4, 2)]
    )
    assert (row.status, row.detail) == ("fail", "elastic IPs: 5 allowed, 4 there, 2 to be made")
    assert "--service-code ec2 --quota-code L-0263D0A3 --desired-value 6" in row.next_command


# ------------------------------------------------------------------- placeholders


def test_the_examples_fail_by_every_value_that_must_be_changed() -> None:
    row = judge_placeholders(load_environment("staging"))
    assert row.status == "fail"
    for left in (
        "account: 111122223333",
        "role/platform-admin",
        "example-slipway-staging-models",
        "203.0.113.0/24",
    ):
        assert left in row.detail


def test_an_environment_of_ones_own_has_none() -> None:
    assert judge_placeholders(an_environment(account="999988887777")).status == "ok"
    assert judge_placeholders(load_environment("sandbox")).status == "ok"


# ------------------------------------------------------------------- image


def test_vllms_image_fits_the_default_deadline() -> None:
    row = judge_pull("vllm/vllm-openai:v0.32.0", VLLM, an_environment())
    assert row.status == "ok"
    assert "20 MiB/s" in row.detail


def test_a_large_image_has_longer_than_the_deadline() -> None:
    row = judge_pull("acme/huge", Image(30_000_000_000), an_environment())
    assert row.status == "ok"
    assert "longer than deadlines.pod_start (15 min" in row.detail


def test_an_unknown_size_is_a_warning_with_its_reason() -> None:
    row = judge_pull("acme/vllm", Image(unknown="it asks for credentials"), an_environment())
    assert (row.status, "it asks for credentials" in row.detail) == ("warn", True)


# ------------------------------------------------------------------- driver


@pytest.mark.parametrize(
    ("release", "driver"),
    [
        ("1.35.1-20260101", "1"),
        ("1.35.1-20260102", "1"),
        ("1.35.1-20260301", "2"),
        ("1.35.1-20251231", ""),
        ("", ""),
    ],
)
def test_a_release_has_the_driver_of_the_newest_that_is_not_newer(release: str, driver: str) -> None:
    assert driver_of(release, {"20260101": "1", "20260201": "2"}) == driver


@pytest.mark.parametrize(
    ("release", "cuda", "status"),
    [
        ("1.35.4-20260714", "13.0.3", "ok"),
        ("1.34.1-20251002", "13.0.3", "fail"),
        ("1.34.1-20251002", "12.9.1", "ok"),
        ("1.35.4-20260714", "", "warn"),
        ("1.35.4-20260714", "14.0.0", "warn"),
        ("", "13.0.3", "warn"),
    ],
)
def test_the_driver_runs_the_images_cuda(release: str, cuda: str, status: str) -> None:
    assert judge_driver(release, Image(1, cuda)).status == status


def test_a_release_after_the_record_is_told_as_that() -> None:
    after = str(int(RECORDED["until"]) + 1)
    assert "or newer" in judge_driver(f"1.36.1-{after}", VLLM).detail


# ------------------------------------------------------------------- key of volumes


def test_a_key_of_the_accounts_own_names_the_grant() -> None:
    assert judge_volume_key("alias/aws/ebs", "1").status == "ok"
    row = judge_volume_key("arn:aws:kms:us-east-1:999988887777:key/1", "999988887777")
    assert row.status == "warn"
    assert "999988887777:role/aws-service-role/autoscaling.amazonaws.com" in row.next_command


@pytest.mark.parametrize(
    ("budget", "status"),
    [(None, "ok"), (100.0, "ok"), (2.0, "fail")],
)
def test_a_deploy_that_could_cost_more_than_the_budget_is_refused(budget: float | None, status: str) -> None:
    where = an_environment(budget=budget, cluster={"gpu": {"max": 8}})
    row = judge_cost(where, PRICES, SpotPrices(), extended=False)
    assert row.status == status
    if status == "fail":
        assert "over the budget of 2: " in row.detail
        assert row.detail.endswith("are 8 g5.2xlarge")
        assert "cluster.gpu.max" in row.next_command


def test_a_budget_is_not_held_against_prices_that_are_unknown() -> None:
    prices = Prices({"control plane": 0.1}, "the Pricing API did not answer")
    row = judge_cost(an_environment(budget=50.0), prices, SpotPrices(), extended=False)
    assert (row.status, "the Pricing API did not answer" in row.detail) == ("fail", True)


def test_a_budget_of_nothing_is_no_budget() -> None:
    with pytest.raises(ValidationError, match="budget"):
        an_environment(budget=0)


@pytest.mark.parametrize(("gpu", "gpus_a_node", "usd"), [(1, 1, 1.2), (1, 4, 0.3), (2, 4, 0.6), (1, 0, None)])
def test_a_replica_costs_its_share_of_a_node_by_gpus(gpu: int, gpus_a_node: int, usd: float | None) -> None:
    model = a_model(engine={"tensor_parallel_size": gpu}, resources={"gpu": gpu})
    assert replica_hour(model, an_environment(), PRICES, gpus_a_node) == pytest.approx(usd)
    assert replica_hour(model, an_environment(), Prices({}, "not asked"), gpus_a_node) is None


def test_what_exists_costs_nothing_more() -> None:
    shared = an_environment(existing={"cluster": "shared"})
    assert [item.what for item in items(shared, PRICES, extended=True)] == ["g5.2xlarge"]
    within = an_environment(existing={"vpc": "vpc-1"})
    kinds = [item.what for item in items(within, PRICES, extended=False)]
    assert kinds == ["control plane", "m6i.large", "g5.2xlarge"]


@pytest.mark.parametrize(
    ("ceiling", "status", "said"),
    [
        (
            0.5,
            "fail",
            "0.5 USD an hour a node is below every type of cluster.gpu: g5.2xlarge: 1.212 USD an hour",
        ),
        (1.0, "fail", "is below every type"),
        (1.3, "warn", "leaves g5.2xlarge; not taken: g6.2xlarge: price unknown"),
    ],
)
def test_a_price_ceiling_must_leave_a_type(ceiling: float, status: str, said: str) -> None:
    gpu = {"provisioner": "karpenter", "alternative_types": ["g6.2xlarge"], "price_ceiling": ceiling}
    row = judge_ceiling(an_environment(cluster={"gpu": gpu}), Prices({"g5.2xlarge": 1.212}))
    assert (row.status, said in row.detail) == (status, True), row
