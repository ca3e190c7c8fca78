"""What preflight asks of the account, of the price list and of a registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from slipway_sandbox.testing import Sandbox, start

from tasks.cloud.aws import Aws
from tasks.cloud.node_image import recommended_release
from tasks.cloud.prices import CONTROL_PLANE, EXTENDED, NAT
from tasks.cloud.registry import ENDPOINT_VARIABLE, Image, read_digest, read_image
from tasks.cloud.spot_prices import SpotPrices
from tasks.preflight.cost import hourly_prices, judge_cost, spot_prices_now
from tasks.preflight.driver import driver_of
from tasks.preflight.network_quota import judge_network, network_needs
from tasks.preflight.quota import limit_of
from tasks.preflight.task import first_cost
from tasks.preflight.volume_key import AWS_MANAGED, default_volume_key
from tasks.records.names import ENVIRONMENT_TAG
from tests.support.builders import an_environment
from tests.support.clouds import aws_over


def test_the_price_list_has_every_part_of_a_deploy(stage_aws: Aws) -> None:
    where = an_environment()
    prices = hourly_prices(where, stage_aws)
    assert set(prices.hour) == {CONTROL_PLANE, EXTENDED, NAT, "m6i.large", where.cluster.gpu.instance_type}
    assert judge_cost(where, prices, SpotPrices(), extended=False).status == "ok"


def test_spot_is_cheaper_than_the_list_price_in_every_zone(stage_aws: Aws) -> None:
    where = an_environment(cluster={"gpu": {"capacity_type": "SPOT"}})
    kind = where.cluster.gpu.instance_type
    zones = spot_prices_now(where, stage_aws).zones(kind)
    assert len(zones) > 1
    assert max(zones.values()) < hourly_prices(where, stage_aws).hour[kind]
    assert spot_prices_now(an_environment(), stage_aws) == SpotPrices()


def test_an_instance_type_without_a_price_is_unknown(stage_aws: Aws) -> None:
    where = an_environment(cluster={"gpu": {"instance_type": "g99.large"}})
    assert (
        "g99.large unknown"
        in judge_cost(where, hourly_prices(where, stage_aws), SpotPrices(), extended=False).detail
    )


def test_a_first_deploy_is_priced_and_a_second_is_not(
    sandbox_aws: Sandbox, stage_aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.preflight.task.aws_of", lambda environment: stage_aws)
    told = first_cost(an_environment())
    assert told
    assert "1 control plane 0.100" in told
    listed = type("Eks", (), {"list_clusters": lambda self: {"clusters": ["slipway-staging"]}})
    monkeypatch.setattr(stage_aws, "client", lambda service: listed())
    assert first_cost(an_environment()) is None


def test_networks_are_counted_and_ones_own_are_not_needed_again(sandbox_aws: Sandbox) -> None:
    # a region of its own: VPCs that other tests of this process left would fill the quota
    elsewhere = aws_over(sandbox_aws, "eu-north-1")
    where, ec2 = an_environment(name="counted", cluster={"nat": "per_zone"}), elsewhere.client("ec2")
    before = {need.what: need for need in network_needs(where, elsewhere)}
    assert {what: need.needed for what, need in before.items()} == {
        "VPCs": 1,
        "elastic IPs": 2,
        "NAT gateways in one zone": 1,
    }
    assert judge_network(list(before.values())).status == "ok"
    tags = [{"Key": ENVIRONMENT_TAG, "Value": "counted"}]
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": tags}])[
        "Vpc"
    ]["VpcId"]
    after = {need.what: need for need in network_needs(where, elsewhere)}
    ec2.delete_vpc(VpcId=vpc)
    assert (after["VPCs"].used, after["VPCs"].needed) == (before["VPCs"].used + 1, 0)


class NoneApplied:
    """An account that Service Quotas has no applied value for; its default is asked of the sandbox."""

    def __init__(self, aws: Aws) -> None:
        self._quotas = aws.client("service-quotas")

    def client(self, service: str) -> Any:
        return self

    def get_service_quota(self, **names: str) -> Any:
        refusal: Any = {"Error": {"Code": "NoSuchResourceException", "Message": "no applied value"}}
        raise ClientError(refusal, "GetServiceQuota")

    def get_aws_default_service_quota(self, **names: str) -> Any:
        return self._quotas.get_aws_default_service_quota(**names)


def test_a_quota_without_an_applied_value_is_awss_default(stage_aws: Aws) -> None:
    none_applied: Any = NoneApplied(stage_aws)
    assert limit_of(none_applied, "ec2", "L-0263D0A3") == 5


def test_an_account_encrypts_volumes_with_awss_key_until_it_chooses(stage_aws: Aws) -> None:
    assert default_volume_key(stage_aws) == AWS_MANAGED


def test_the_node_image_of_a_version_has_a_driver(stage_aws: Aws) -> None:
    release = recommended_release(stage_aws, "1.35")
    assert release.startswith("1.35.")
    assert driver_of(release, {"20240101": "550.1"}) == "550.1"
    assert recommended_release(stage_aws, "1.20") == ""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start(tmp_path_factory.mktemp("registry"), parts=("hub",)) as running:
        yield running.hub_url


def test_a_registry_tells_size_and_cuda(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, registry)
    assert read_image("vllm/vllm-openai:v0.32.0") == Image(10_300_000_000, "13.0.3")
    assert read_image("nginx").cuda == ""
    nowhere = read_image("acme/none:1")
    assert nowhere.missing
    assert "there is no acme/none" in nowhere.unknown
    assert "linux/arm64" in read_image("nginx", "arm64").unknown


def test_an_image_has_one_digest_by_tag_and_by_digest(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, registry)
    found = read_digest("vllm/vllm-openai:v0.32.0").digest
    assert found.startswith("sha256:")
    pinned = f"vllm/vllm-openai:v0.32.0@{found}"
    assert read_digest(pinned).digest == found
    assert read_image(pinned) == read_image("vllm/vllm-openai:v0.32.0")
    assert read_digest("acme/none:1").missing
    assert "there is no" in read_digest(f"vllm/vllm-openai@sha256:{'0' * 64}").unknown


def test_a_registry_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, "http://127.0.0.1:1")
    assert "cannot be reached" in read_image("vllm/vllm-openai:v0.32.0").unknown
