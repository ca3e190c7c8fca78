from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.cloud.instances import Instance
from tasks.cloud.prices import CONTROL_PLANE, NAT, Prices
from tasks.cloud.spot_prices import SpotPrices
from tasks.records.errors import ClusterError
from tasks.records.results import Served
from tasks.records.status import ModelStatus
from tasks.status.look import Read, Seen, attempt, model_of, status_of
from tasks.status.prices import Tariff
from tasks.status.serving import Known
from tests.support.builders import a_model, an_environment

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MODEL = a_model(scaling={"min_replicas": 2, "max_replicas": 4})
KNOWN = Known(Served(model="llama", release="0123", replicas=0), 1000.0, NOW)
PRICES = Prices({"g5.12xlarge": 4.0, "m6i.large": 0.1, CONTROL_PLANE: 0.1, NAT: 0.05}, "nobody said")
UNKNOWN: Prices = Prices({}, "the Pricing API did not answer")


def instance(kind: str, number: int, *, runs: bool = True) -> Instance:
    return Instance(f"i-{number}", kind, NOW, runs, spot=False, ended_at=None if runs else NOW)


def a_pod(name: str, node: str | None, gpus: int = 1, **metadata: Any) -> dict[str, Any]:
    containers = [{"resources": {"requests": {"nvidia.com/gpu": str(gpus)}}}]
    labels = {"slipway.dev/model": "llama"}
    return {
        "metadata": {"name": name, "labels": labels, **metadata},
        "spec": {"containers": containers} | ({"nodeName": node} if node else {}),
        "status": {"phase": "Running"},
    }


def seen(**changed: Any) -> Seen:
    labels = {"node.kubernetes.io/instance-type": "g5.12xlarge"}
    node = {"metadata": {"name": "n1", "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": "4"}}}
    deployment = {"metadata": {"name": "vllm-llama"}, "spec": {"replicas": 3}, "status": {"readyReplicas": 2}}
    pods = [a_pod("a", "n1"), a_pod("b", "n1"), a_pod("c", None), a_pod("d", "n1", deletionTimestamp="now")]
    known: dict[str, Any] = {
        "pods": Read(pods),
        "nodes": Read([node]),
        "deployments": Read([deployment]),
        "instances": Read(
            [instance("g5.12xlarge", 1), instance("m6i.large", 2), instance("m6i.large", 3, runs=False)]
        ),
        "requests": Read({"llama": 12.5}),
        "tariff": Tariff(PRICES, SpotPrices()),
        "gpu_hour": Read(1.0),
    }
    return Seen(**{**known, **changed})


def test_every_cell_comes_from_its_own_source() -> None:
    row = model_of(MODEL, Read(KNOWN), seen())
    assert row.served
    assert (row.served.replicas, row.replicas_wanted, row.nodes) == (2, 3, ("n1",))
    # two of the four GPUs of a node of 4 USD
    assert (row.usd_per_hour, row.requests_per_minute, row.last_drill_at) == (2.0, 12.5, NOW)
    # two replicas of one GPU at 1,000 tokens a second
    assert row.usd_per_million == pytest.approx(2.0 / 3.6)
    assert row.unknown == {}


def test_a_model_that_nobody_asked_has_no_request_and_no_unknown_cell() -> None:
    row = model_of(MODEL, Read(KNOWN), seen(requests=Read({})))
    assert (row.requests_per_minute, row.unknown) == (0.0, {})


PRICE = "usd_per_hour"
RATE = "usd_per_million_output_tokens_at_proven_rate"


@pytest.mark.parametrize(
    ("changed", "cells"),
    [
        ({"pods": Read(None, "no answer")}, {"nodes", PRICE}),
        ({"nodes": Read(None, "no answer")}, {"nodes", PRICE}),
        ({"deployments": Read(None, "no answer")}, {"replicas_ready", "replicas_wanted"}),
        ({"requests": Read(None, "no answer")}, {"requests_per_minute"}),
        ({"tariff": Tariff(UNKNOWN, SpotPrices())}, {PRICE}),
        ({"gpu_hour": Read(None, "no answer")}, {RATE}),
    ],
)
def test_what_does_not_answer_is_unknown_and_hides_nothing_else(
    changed: dict[str, Any], cells: set[str]
) -> None:
    row = model_of(MODEL, Read(KNOWN), seen(**changed))
    document = row.document()
    assert {*row.unknown} == cells
    assert {name for name in model_of(MODEL, Read(KNOWN), seen()).document() if document[name] is None} == {
        *cells,
        "proven_at",
        "rolling",
    }


def test_a_ledger_that_cannot_be_read_leaves_what_runs() -> None:
    row = model_of(MODEL, Read(None, "AWS cannot be reached"), seen())
    assert (row.replicas_wanted, row.requests_per_minute, row.nodes) == (3, 12.5, ("n1",))
    assert {*row.unknown} == {"release", "proven_at", "last_drill_at"}


def test_an_environment_costs_what_runs_and_what_is_beside_it() -> None:
    environment = an_environment(cluster={"gpu": {"instance_type": "g5.12xlarge"}})
    found = status_of(environment, seen(), [ModelStatus(model="llama")], NOW)
    assert (found.nodes, found.gpu_nodes) == ({"g5.12xlarge": 1, "m6i.large": 1}, 1)
    assert found.usd_per_hour == pytest.approx(4.0 + 0.1 + 0.1 + 0.05)


def test_in_what_exists_only_our_instances_are_counted() -> None:
    environment = an_environment(
        cluster={"gpu": {"instance_type": "g5.12xlarge"}},
        existing={"cluster": "theirs"},
    )
    assert status_of(environment, seen(), [], NOW).usd_per_hour == pytest.approx(4.1)


def test_a_price_that_is_unknown_is_named() -> None:
    found = status_of(an_environment(), seen(tariff=Tariff(UNKNOWN, SpotPrices())), [], NOW)
    assert found.usd_per_hour is None
    assert "g5.12xlarge" in found.unknown["usd_per_hour"]
    assert "the Pricing API did not answer" in found.unknown["usd_per_hour"]


def test_an_error_is_a_reason_and_a_bug_is_none() -> None:
    def fails(error: Exception) -> None:
        raise error

    assert attempt(lambda: fails(ClusterError("no answer"))) == Read(None, "no answer")
    with pytest.raises(KeyError):
        attempt(lambda: fails(KeyError("x")))


@pytest.mark.parametrize(
    "market", [{"karpenter.sh/capacity-type": "spot"}, {"eks.amazonaws.com/capacityType": "SPOT"}]
)
def test_a_spot_node_counts_at_what_spot_costs_now_in_its_zone(market: dict[str, str]) -> None:
    labels = {"node.kubernetes.io/instance-type": "g5.12xlarge", "topology.kubernetes.io/zone": "us-east-1a"}
    node = {
        "metadata": {"name": "n1", "labels": labels | market},
        "status": {"allocatable": {"nvidia.com/gpu": "4"}},
    }
    spot = SpotPrices({("g5.12xlarge", "us-east-1a"): ((NOW, 1.0),)})
    one = Instance("i-1", "g5.12xlarge", NOW, True, spot=True, ended_at=None, zone="us-east-1a")
    looked = seen(nodes=Read([node]), instances=Read([one]), tariff=Tariff(PRICES, spot))
    assert model_of(MODEL, Read(KNOWN), looked).usd_per_hour == pytest.approx(2 * 1.0 / 4)
    assert status_of(an_environment(), looked, [], NOW).usd_per_hour == pytest.approx(1.0 + 0.1 + 0.05)


def test_a_spot_price_that_is_unknown_is_named() -> None:
    one = Instance("i-1", "g5.12xlarge", NOW, True, spot=True, ended_at=None, zone="us-east-1a")
    tariff = Tariff(PRICES, SpotPrices({}, "no right to ask"))
    found = status_of(an_environment(), seen(instances=Read([one]), tariff=tariff), [], NOW)
    assert found.usd_per_hour is None
    assert found.unknown["usd_per_hour"] == "the price of a spot g5.12xlarge in us-east-1a: no right to ask"
