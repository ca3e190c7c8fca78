from __future__ import annotations

import pytest

from tasks.releases.ledger import Serving, after_proof


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Serving(), Serving(serving="b")),
        (Serving(rolling="b"), Serving(serving="b")),
        (Serving(serving="a", rolling="b"), Serving(serving="b", previous="a")),
        (Serving(serving="a", previous="z", rolling="b"), Serving(serving="b", previous="a")),
        (Serving(serving="b", previous="a"), Serving(serving="b", previous="a")),
        (Serving(serving="b", previous="a", rolling="b"), Serving(serving="b", previous="a")),
    ],
)
def test_a_proof_keeps_what_served_before_and_twice_is_once(before: Serving, after: Serving) -> None:
    assert after_proof(before, "b") == after
    assert after_proof(after_proof(before, "b"), "b") == after
