from __future__ import annotations

import pytest

from tasks.cloud.prometheus import TimeSeries
from tasks.status.rates import by_model, is_scraped, window_of


def series(*samples: tuple[float, float], **labels: str) -> TimeSeries:
    return TimeSeries(labels, samples)


UP = series((0, 1), (30, 1), (60, 1), pod="gw")


@pytest.mark.parametrize(
    ("counter", "a_minute"),
    [
        (series((0, 100), (30, 110), (60, 130), model="m", pod="gw"), 30),
        # NGINX was started anew: it counts from zero
        (series((0, 100), (30, 110), (60, 5), model="m", pod="gw"), 15),
        # the first request came while the pod was scraped: it counts
        (series((30, 4), (60, 9), model="m", pod="gw"), 9),
        # the pod was first scraped now: what it counted before is of another time
        (series((30, 400), (60, 409), model="m", pod="new"), 9),
    ],
)
def test_requests_a_minute_are_what_the_counter_rose(counter: TimeSeries, a_minute: float) -> None:
    up = [UP, series((30, 1), (60, 1), pod="new")]
    assert by_model([counter], up, 60.0) == {"m": a_minute}


def test_keys_and_statuses_of_a_model_are_added_up_and_models_are_not() -> None:
    counters = [
        series((0, 0), (120, 10), model="m", code="200", pod="gw"),
        series((0, 0), (120, 2), model="m", code="502", pod="gw"),
        series((0, 0), (120, 40), model="n", code="200", pod="gw"),
    ]
    assert by_model(counters, [UP], 120.0) == {"m": 6, "n": 20}


@pytest.mark.parametrize(("up", "scraped"), [([], False), ([series((0, 1), (15, 0))], False), ([UP], True)])
def test_a_gateway_that_is_not_scraped_is_told_from_one_that_nobody_asks(
    up: list[TimeSeries], *, scraped: bool
) -> None:
    assert is_scraped(up) is scraped


@pytest.mark.parametrize(("interval", "window"), [(1.0, 60.0), (15.0, 60.0), (60.0, 240.0)])
def test_the_window_has_some_scrapes(interval: float, window: float) -> None:
    assert window_of(interval) == window
