"""What a person is asked to approve: the release before and after, preflight, terraform's plan and the cost. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.run.outcomes import verdict
from flows.run.summary import markdown_table
from tasks.records.reports import LoadReport
from tasks.records.results import Feasibility, Release

# of a plan, in front of a person
MOST_ROWS = 40


@dataclass(frozen=True)
class Proposal:
    """`what` would be done, the page that tells it, and a key that differs where something else would be done."""

    what: str
    page: str
    key: str


def of_promotion(
    release: Release,
    environment: str,
    *,
    proof: LoadReport | None,
    before: str | None,
    judged: Feasibility,
    changes: Sequence[Mapping[str, str]],
) -> Proposal:
    """Of a release into `environment`. `before`: what is proven there now; `proof`: of where it comes from."""
    what = f"promote {release.model} into {environment}"
    rows = [
        ("release", f"`{before or 'nothing'}` → `{release.id}`"),
        ("model", f"{release.repo} at {release.commit[:12]}"),
        ("engine", release.image),
        ("cost", judged.cost or "unknown"),
    ]
    if proof:
        rows.append(("proof", " ".join(line.strip() for line in verdict(proof))))
    told = [row for row in judged.rows if row.status != "ok"]
    held = f"{len(judged.rows) - len(told)} of {len(judged.rows)} checks hold"
    parts = [
        f"## {what}?",
        markdown_table(("", ""), rows),
        f"### Preflight\n\n{held}",
        markdown_table(("check", "", ""), [(row.check, row.status, row.detail) for row in told])
        if told
        else "",
        f"### Terraform\n\n{_plan(changes)}",
    ]
    return Proposal(what, _page(parts), _key([environment, release.id, [dict(row) for row in changes]]))


def of_teardown(
    environment: str, there: Sequence[str], *, goes: Mapping[str, str], costs: Sequence[str]
) -> Proposal:
    """Of an environment. `there`: what it has now; `goes`: what is kept and deleted, by parameter."""
    what = f"tear {environment} down"
    parts = [
        f"## {what}?",
        markdown_table(("", ""), [*goes.items()]),
        f"### What is there: {len(there)} things\n\n{_listed(there)}",
        f"### What its storage costs\n\n{_listed(costs)}" if costs else "",
    ]
    return Proposal(what, _page(parts), _key([environment, dict(goes)]))


def _plan(changes: Sequence[Mapping[str, str]]) -> str:
    if not changes:
        return "no difference"
    rows = [(row["stack"], row["action"], row["resource"]) for row in changes[:MOST_ROWS]]
    more = len(changes) - len(rows)
    return markdown_table(("stack", "", "resource"), rows) + (f"\n\nand {more} more" if more else "")


def _listed(lines: Sequence[str]) -> str:
    more = len(lines) - MOST_ROWS
    return "\n".join(
        [*(f"- {line}" for line in lines[:MOST_ROWS]), *([f"- and {more} more"] if more > 0 else [])]
    )


def _page(parts: Sequence[str]) -> str:
    return "\n\n".join(part for part in parts if part)


def _key(of: object) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:12]
