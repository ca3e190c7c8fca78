from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.cloud.instances import Instance
from tasks.cloud.prices import Prices
from tasks.cloud.prometheus import TimeSeries
from tasks.cloud.spot_prices import SpotPrices
from tasks.cost.figures import Known, Traffic, costs_of, traffic_of
from tasks.cost.meter import Meter
from tests.support.builders import a_model, an_environment

START = datetime(2026, 11, 30, tzinfo=UTC)
NOW = START + timedelta(hours=10)
GPU, SYSTEM = "g5.12xlarge", "m6i.large"
ENVIRONMENT = an_environment(cluster={"gpu": {"instance_type": GPU}})
BIG = a_model(name="big", resources={"gpu": 2}, scaling={"min_replicas": 1})
SMALL = a_model(name="small", resources={"gpu": 1}, scaling={"min_replicas": 2, "max_replicas": 4})
# a GPU node of four GPUs ran for five of the ten hours, a system node all the time
METER = Meter().after(
    [
        Instance("i-1", GPU, START, False, False, START + timedelta(hours=5)),
        Instance("i-2", SYSTEM, START, True, False, None),
    ],
    NOW,
)
PRICES = Prices({GPU: 4.0, SYSTEM: 0.1})
# two dollars an hour, from the fourth hour on one
SPOT = SpotPrices(
    {(GPU, "us-east-1a"): ((START - timedelta(hours=1), 2.0), (START + timedelta(hours=4), 1.0))}
)
HOUR = 3600.0


def known(**changed: Any) -> Known:
    traffic = {"big": Traffic(2e6, up=5 * HOUR, busy=2 * HOUR), "small": Traffic(0, up=10 * HOUR, busy=0)}
    given = {
        "meter": METER,
        "prices": PRICES,
        "spot": SPOT,
        "gpus": {GPU: 4},
        "traffic": traffic,
        "unknown": {},
    }
    return Known(**{**given, **changed})


def test_what_was_paid_is_instance_time_by_its_price() -> None:
    costs = costs_of(ENVIRONMENT, [BIG, SMALL], known(), START, NOW)
    assert costs.instance_hours == {GPU: 5.0, SYSTEM: 10.0}
    assert costs.paid_usd == pytest.approx(21.0)
    assert costs.gpu_usd == pytest.approx(20.0)


def test_idleness_is_what_was_paid_while_no_request_ran() -> None:
    costs = costs_of(ENVIRONMENT, [BIG, SMALL], known(), START, NOW)
    # of 20 GPU hours 4 were busy: two hours of a replica of two GPUs
    assert costs.idle_usd == pytest.approx(20.0 * 16 / 20)


def test_scale_down_saved_the_nodes_of_the_fewest_replicas_for_the_time_without_them() -> None:
    costs = costs_of(ENVIRONMENT, [BIG, SMALL], known(), START, NOW)
    # 2 + 2 x 1 GPUs are one node of four: it was away for five hours
    assert costs.saved_usd == pytest.approx(20.0)


def test_tokens_at_this_traffic_cost_the_hours_that_were_paid() -> None:
    models = costs_of(ENVIRONMENT, [BIG, SMALL], known(), START, NOW).models
    # both have had ten GPU hours
    assert models["big"].gpu_usd == pytest.approx(10.0)
    assert models["small"].gpu_usd == pytest.approx(10.0)
    assert models["big"].usd_per_million == pytest.approx(5.0)
    assert models["small"].usd_per_million is None


def test_without_prometheus_what_was_paid_and_saved_is_told() -> None:
    costs = costs_of(ENVIRONMENT, [BIG], known(traffic=None, unknown={"traffic": "no answer"}), START, NOW)
    assert costs.paid_usd == pytest.approx(21.0)
    assert costs.saved_usd is not None
    assert (costs.idle_usd, costs.models, costs.unknown) == (None, {}, {"traffic": "no answer"})


def test_a_price_that_is_unknown_makes_no_figure_and_is_named() -> None:
    costs = costs_of(ENVIRONMENT, [BIG], known(prices=Prices({GPU: 4.0}, "no answer")), START, NOW)
    assert costs.paid_usd is None
    assert costs.gpu_usd == pytest.approx(20.0)
    assert costs.unknown == {"paid_usd": f"the price of {SYSTEM}: no answer"}


def test_a_spot_instance_is_paid_at_the_price_of_each_hour_in_its_zone() -> None:
    spot = Instance("i-3", GPU, START + timedelta(hours=2), True, True, None, "us-east-1a")
    meter = METER.after([spot], NOW)
    costs = costs_of(ENVIRONMENT, [BIG], known(meter=meter), START, NOW)
    # two hours at 2 USD, six at 1
    assert costs.gpu_usd == pytest.approx(20.0 + 2 * 2.0 + 6 * 1.0)


def test_a_spot_price_that_is_unknown_is_named_with_its_zone() -> None:
    spot = Instance("i-3", GPU, START, True, True, None, "us-east-1b")
    found = known(meter=METER.after([spot], NOW), spot=SpotPrices({}, "no right to ask"))
    costs = costs_of(ENVIRONMENT, [BIG], found, START, NOW)
    assert (costs.paid_usd, costs.gpu_usd) == (None, None)
    assert costs.unknown == {"paid_usd": f"the price of a spot {GPU} in us-east-1b: no right to ask"}


def test_where_all_gpu_nodes_are_spot_the_saved_ones_count_at_the_cheapest_zones_price() -> None:
    where = an_environment(cluster={"gpu": {"instance_type": GPU, "capacity_type": "SPOT"}})
    # five hours without the node, at the price of now
    assert costs_of(where, [BIG, SMALL], known(), START, NOW).saved_usd == pytest.approx(5 * 1.0)


def series(pod: str, *samples: tuple[float, float], engine: str = "0") -> TimeSeries:
    return TimeSeries({"pod": pod, "engine": engine}, samples)


def test_a_replica_is_busy_where_any_of_its_engines_has_a_request() -> None:
    running = [
        series("a", (0, 0), (15, 1), (30, 0), (45, 0)),
        series("a", (0, 0), (15, 0), (30, 2), (45, 0), engine="1"),
        series("b", (0, 3), (15, 0)),
    ]
    tokens = [series("a", (0, 100), (45, 400)), series("b", (0, 50), (15, 20))]
    assert traffic_of(tokens, running, 15) == Traffic(output_tokens=320, up=60 + 30, busy=30 + 15)


def test_a_gap_in_the_samples_is_no_time_that_it_was_up() -> None:
    assert traffic_of([], [series("a", (0, 1), (600, 1))], 15) == Traffic(0, up=45 + 15, busy=45 + 15)
