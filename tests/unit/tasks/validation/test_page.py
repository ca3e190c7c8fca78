"""The page of a load report: whole in itself, and nothing of what it was told can become markup."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from tasks.records.objectives import Objectives
from tasks.records.reports import Sweep
from tasks.validation.charts import Chart, Line, Mark, draw
from tasks.validation.compare import compare, with_comparison
from tasks.validation.page import page
from tasks.validation.sweep import conclude
from tests.support.reports import a_release, a_run
from tests.support.sweeps import GOOD

OBJECTIVES = Objectives.model_validate(
    {"ttft": {"p95": "500ms"}, "tpot": {"p95": "50ms"}, "goodput": 0.9, "each": {"ttft": "500ms"}}
)
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Seen(HTMLParser):
    """Tags, attributes and text, as a browser would take them; that everything opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def a_sweep() -> Sweep:
    return conclude(Sweep(started_at=datetime(2025, 1, 1, tzinfo=UTC), replicas=1, steps=tuple(GOOD)), 1)


def html() -> str:
    run = a_run(2, slower=1.3, failing=0.05, ttft={"p95": "500ms"})
    report = with_comparison(run, compare(run, a_run(1), 0.1, "r1"))
    return page(a_release(), OBJECTIVES, report, ("r0", a_sweep())).html


def test_it_needs_nothing_from_anywhere() -> None:
    text = html()
    seen = Seen(text)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(seen.tags)
    assert {name for name, _ in seen.attributes} & {
        "src",
        "href",
        "action",
        "data",
        "xlink:href",
        "srcset",
    } == set()
    assert not re.search(
        r"https?://|//[a-z]|url\(|@import", text.partition('<script type="application/json"')[0]
    )
    assert [value for name, value in seen.attributes if name == "type"] == [
        "application/json"
    ]  # no script runs


def test_it_holds_the_figures() -> None:
    run = a_run(2, slower=1.3, failing=0.05, ttft={"p95": "500ms"})
    text = Seen(html()).text
    assert f"{run.succeeded:,} of {run.requests:,}" in text
    assert f"{run.ttft.p99:.3g}" in text
    assert "http 503" in text and f"{run.failures['http 503']:,}" in text
    assert "knee 10/s" in text
    assert "Swept on release r0" in text
    assert f"validated {run.offered_rate:.3g}/s" in text
    assert "scaling.requests_per_replica: 16" in text
    assert "beside release r1" in text
    for title in (
        "Latency distribution",
        "Over time",
        "Failures by kind",
        "Rate against latency",
        "Objectives",
    ):
        assert title in text


def test_every_chart_has_its_lines() -> None:
    text = html()
    assert text.count("<svg") == 4 + 4 + 2
    for chart in text.split("<svg")[1:]:
        assert re.search(r'<path class="line s\d" d="M[\d.]+ [\d.]+ L', chart)
    assert text.count('<line class="knee"') == 2
    assert "nan" not in text.partition("<script")[0].lower().replace("inter", "")


def test_for_machines_it_is_json() -> None:
    found = page(a_release(), OBJECTIVES, a_run(1), None)
    document = json.loads(found.document)
    assert document["report"]["requests"] == 400
    assert document["release"]["model"] == "llama"
    inlined = re.search(r'id="report">(.*?)</script>', found.html, re.S)
    assert inlined and json.loads(inlined[1]) == document


def test_no_text_becomes_markup() -> None:
    release = a_release(model=EVIL, environment=EVIL, repo=EVIL, image=EVIL)
    run = a_run(1).model_copy(
        update={"reasons": (EVIL,), "failures": {EVIL: 3}, "load": EVIL, "profile": EVIL, "verdict": "FAIL"}
    )
    report = with_comparison(run, compare(run, None, 0.1, None).model_copy(update={"why": EVIL}))
    sweep = a_sweep()
    steps = tuple(one.model_copy(update={"reason": EVIL}) for one in sweep.steps)
    sweep = sweep.model_copy(update={"steps": steps, "refused": EVIL})
    text = page(release, OBJECTIVES, report, (EVIL, sweep)).html
    seen = Seen(text)
    assert "img" not in seen.tags
    assert seen.tags.count("script") == 1
    assert "onerror" not in {name for name, _ in seen.attributes}
    assert text.count("<script") == 1


def test_what_was_not_measured_is_said() -> None:
    report = a_run(1, requests=30, failing=1.0)
    text = Seen(page(a_release(), OBJECTIVES, report, None).html).text
    assert "Nothing was measured." in text
    assert "Rate against latency" not in text


@pytest.mark.parametrize("log", [False, True])
def test_a_chart_of_one_point_or_of_equal_ones_is_drawn(log: bool) -> None:
    for points in ([(1.0, 1.0)], [(2.0, 5.0), (2.0, 5.0)]):
        chart = Chart("t", "x", "y", [Line("s", points, "s0")], [Mark("m", 3.0, True)], log_x=log, log_y=log)
        assert "<path" in draw(chart)


def test_a_bound_far_away_is_told_and_does_not_press_the_lines_flat() -> None:
    series = [Line("p95", [(0.0, 10.0), (1.0, 12.0)], "s0")]
    near = draw(Chart("t", "x", "y", series, [Mark("bound", 20.0, False)]))
    far = draw(Chart("t", "x", "y", series, [Mark("bound", 2000.0, False)]))
    assert 'class="bound"' in near and "beyond the chart" not in near
    assert 'class="bound"' not in far and "bound: 2,000, beyond the chart" in far
