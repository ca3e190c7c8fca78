"""The expressions that tests/support/runner.py evaluates."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.expressions import UnknownExpression, evaluated, filled, holds

KNOWN: dict[str, Any] = {
    "github": {"sha": "abc", "event": {"before": "b"}},
    "needs": {"changed": {"outputs": {"pairs": '[{"model": "m"}]'}, "result": "success"}},
    "matrix": {"model": "m"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("github.sha", "abc"),
        (" github.event.before ", "b"),
        ("'it''s'", "it's"),
        ("fromJSON(needs.changed.outputs.pairs)", [{"model": "m"}]),
        ("needs.changed.outputs.pairs != '[]' && github.sha == 'abc'", True),
        ("!cancelled() && needs.changed.result != 'skipped'", True),
        ("github.sha == 'x' || github.sha == 'abc'", True),
        ("!(github.sha == 'abc')", False),
    ],
)
def test_an_expression_has_the_value_github_gives_it(text: str, value: Any) -> None:
    assert evaluated(text, KNOWN) == value


@pytest.mark.parametrize(
    "text",
    ["github.ref", "inputs.model", "hashFiles('x')", "github.sha ==", "(github.sha", "github.sha github.sha", "", "1 + 1", "a[0]"],
)  # fmt: skip
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(UnknownExpression):
        evaluated(text, KNOWN)


def test_a_value_that_is_an_expression_keeps_its_type_and_others_are_text() -> None:
    assert filled("${{ fromJSON(needs.changed.outputs.pairs) }}", KNOWN) == [{"model": "m"}]
    assert filled("${{ matrix.model }}-${{ github.sha }}", KNOWN) == "m-abc"
    assert filled(5, KNOWN) == 5


def test_a_condition_may_leave_the_braces_out() -> None:
    assert holds("github.sha == 'abc'", KNOWN)
    assert not holds("${{ github.sha != 'abc' }}", KNOWN)
