from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.records.quantities import human_bytes, human_seconds, parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", 0.5),
        ("4", 4.0),
        (4, 4.0),
        (0.5, 0.5),
        ("16Gi", 16 * 2**30),
        ("1.5Gi", 1.5 * 2**30),
        ("2k", 2000.0),
        ("3G", 3e9),
        ("16069236Ki", 16069236 * 1024),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(text: str | float, number: float) -> None:
    assert parse_quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "Gi", "16 Gi", "-1", "1gi", "16GiB", "nan", "inf", "1,5", "1.", "0x10"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("90s", 90.0),
        ("20m", 1200.0),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        (7, 7.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_read_as_seconds(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "20", "20 m", "-5s", "1w", "five", True])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(0, 10**9), st.sampled_from(["", "Ki", "Mi", "Gi", "k", "M", "G"]))
def test_a_bigger_number_is_a_bigger_quantity(number: int, suffix: str) -> None:
    assert parse_quantity(f"{number + 1}{suffix}") > parse_quantity(f"{number}{suffix}")


@given(st.floats(0, 1e15))
def test_every_size_is_shown_with_one_unit(count: float) -> None:
    number, unit = human_bytes(count).split()
    assert unit in {"B", "KiB", "MiB", "GiB", "TiB"}
    assert math.isfinite(float(number))


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**40, "1.0 TiB"), (2**50, "1024.0 TiB")],
)
def test_a_size_is_shown_in_the_unit_people_read(count: float, shown: str) -> None:
    assert human_bytes(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.42, "420 ms"),
        (2.25, "2.2 s"),
        (75, "1 min 15 s"),
        (119.7, "2 min 0 s"),
        (3600, "1 h 0 min"),
        (7380, "2 h 3 min"),
    ],
)
def test_a_duration_is_shown_as_people_read_it(seconds: float, shown: str) -> None:
    assert human_seconds(seconds) == shown
