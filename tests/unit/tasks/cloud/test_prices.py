from __future__ import annotations

import pytest

from tasks.cloud.prices import within_ceiling

HOUR = {"g6.xlarge": 0.80, "g5.xlarge": 1.01}
TYPES = ("g5.xlarge", "g6.xlarge", "new.xlarge")


@pytest.mark.parametrize(
    ("ceiling", "types", "left_out"),
    [
        (None, TYPES, ()),
        (2.0, ("g5.xlarge", "g6.xlarge"), ("new.xlarge: price unknown",)),
        (1.01, ("g5.xlarge", "g6.xlarge"), ("new.xlarge: price unknown",)),
        (0.9, ("g6.xlarge",), ("g5.xlarge: 1.010 USD an hour", "new.xlarge: price unknown")),
        (
            0.1,
            (),
            ("g5.xlarge: 1.010 USD an hour", "g6.xlarge: 0.800 USD an hour", "new.xlarge: price unknown"),
        ),
    ],
)
def test_a_type_is_within_the_ceiling_by_a_price_that_is_known(
    ceiling: float | None, types: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    found = within_ceiling(TYPES, HOUR, ceiling)
    assert (found.types, found.left_out) == (types, left_out)
