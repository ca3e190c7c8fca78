from __future__ import annotations

from tasks.validation.summary import table, tell
from tests.support.heard import Heard
from tests.support.reports import failed, judged_outcomes, outcome

SLOW = [outcome(ttft=0.9)] * 10 + [outcome()] * 90  # p95 of the first token: 900 ms


def test_the_table_has_what_was_asked_first() -> None:
    rows = table(judged_outcomes(SLOW, ttft={"p95": "500ms"}, goodput=0.5, each={"ttft": "500ms"}))
    assert rows[0] == {
        "what": "objective ttft p95",
        "value": "900 ms, objective: at most 500 ms",
        "": "BROKEN",
    }
    assert rows[-1]["what"] == "goodput"
    assert [row["value"] for row in table(judged_outcomes([])) if row["what"] == "ttft (ms)"] == ["none"]


def test_the_table_says_where_it_was_measured_from() -> None:
    report = judged_outcomes(SLOW).model_copy(update={"measured_from": "cluster"})
    assert {"what": "measured", "value": "from inside the cluster", "": ""} in table(report)


def test_what_the_server_said_is_told_and_in_the_table() -> None:
    report = judged_outcomes([failed("http 400", "too long")] * 2 + [outcome()] * 98)
    heard = Heard()
    tell(report, heard)
    assert "failed: http 400, 2 requests: too long" in heard.lines
    assert {"what": "failed", "value": "http 400, 2 requests: too long", "": ""} in table(report)
