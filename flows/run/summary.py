"""One page about a run: how it ended, before and after, figures, where it answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.run.endings import Ending
from flows.run.outcomes import verdict
from flows.run.status_table import HEAD, NOTE, cells, costs, reasons, title
from flows.run.whose import line
from tasks.records.reports import LoadReport
from tasks.records.results import Feasibility, IdleDecision
from tasks.records.status import EnvironmentStatus
from tasks.releases.records import Deployed, ReleaseRecord


def summary(ending: Ending, result: Any, given: Mapping[str, Any], tags: Sequence[str]) -> str:
    """The page as markdown: a first line that says it all, then what is known of the release and its load."""
    rows = [(name.replace("_", " "), str(value)) for name, value in given.items() if _is_told(value)]
    rows += [("commit", tag.removeprefix("commit:")) for tag in tags if tag.startswith("commit:")]
    parts = [f"## {ending.name}\n\n{ending.message}"]
    if isinstance(result, Deployed):
        rows += _release(result.record)
        known = (
            ("cost", result.cost),
            ("cost of output", result.output_cost),
            ("page", result.page),
            ("seconds", line(result.seconds)),
        )
        rows += [(name, value) for name, value in known if value]
        if approval := result.record.approval:
            rows.append(("approved", str(approval)))
        if result.record.report:
            parts.append(_load(result.record.report))
    parts.insert(1, markdown_table(("", ""), rows))
    if found := _found(result):
        parts.append(found)
    return "\n\n".join(parts)


def _found(result: Any) -> str:
    """What a run that looks at several things found of each, as a table; empty for any other result."""
    if isinstance(result, Feasibility):
        return markdown_table(("check", "", ""), [(row.check, row.status, row.detail) for row in result.rows])
    if isinstance(result, list) and result and all(isinstance(one, EnvironmentStatus) for one in result):
        return "\n\n".join(_status(one) for one in result)
    if isinstance(result, dict) and all(isinstance(one, IdleDecision) for one in result.values()):
        decided = [(name, "to zero" if one.act else "left", one.reason) for name, one in result.items()]
        return markdown_table(("model", "", ""), decided) if decided else ""
    if isinstance(result, dict) and all(isinstance(one, LoadReport) for one in result.values()):
        return "\n\n".join(f"### {name}\n\n{_load(report)}" for name, report in result.items())
    return ""


def _status(found: EnvironmentStatus) -> str:
    parts = [title(found)]
    if found.models:
        parts += [markdown_table(HEAD, [cells(one) for one in found.models]), NOTE.replace("*", "\\*")]
    told = [*reasons(found), *found.troubles, *(costs(found.day) if found.day else ())]
    parts += ["\n".join(f"- {line}" for line in told)] if told else []
    return "\n\n".join(parts)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head, as Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _is_told(value: Any) -> bool:
    return value not in (None, "", [], False)


def _release(record: ReleaseRecord) -> list[tuple[str, str]]:
    if not record.rollout:
        return []
    before = record.rollout.previous_release_id or "nothing"
    gap = record.rollout.gap_seconds
    return [
        ("release", f"`{before}` → `{record.release.id}`"),
        ("strategy", str(record.rollout.strategy)),
        ("downtime", "nothing served before" if gap is None else f"{gap:.1f} s"),
        ("endpoint", record.rollout.endpoint.base_url),
    ]


def _load(report: LoadReport) -> str:
    lines = ["\n".join(line.strip() for line in verdict(report))]
    if report.comparison and report.comparison.figures:
        head = ("figure", f"before (`{report.comparison.release}`)", "now", "")
        figures = [
            (one.name, f"{one.before:.4g}", f"{one.now:.4g}", "worse" if one.regressed else "")
            for one in report.comparison.figures
        ]
        lines.append(markdown_table(head, figures))
    return "\n\n".join(lines)
