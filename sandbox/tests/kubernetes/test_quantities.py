from __future__ import annotations

import pytest

from slipway_sandbox.kubernetes import quantities


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("2", "2"),
        ("1500", "1500"),
        ("2000", "2k"),
        ("1e3", "1e3"),
        ("0", "0"),
        ("0Gi", "0"),
        ("-1Gi", "-1Gi"),
        ("0.1Ki", "102400m"),
        ("100n", "100n"),
        ("0.5n", "1n"),
    ],
)
def test_a_quantity_has_one_form(written: str, stored: str) -> None:
    assert quantities.canonical(written) == stored


@pytest.mark.parametrize("written", ["", "1.2.3", "Gi", "1 Gi", "1gb", "1KI", "--1"])
def test_what_is_no_quantity_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantities.canonical(written)
