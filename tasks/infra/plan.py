"""Read a saved terraform plan, show it as a table, and refuse one that destroys what holds data.

Format: https://developer.hashicorp.com/terraform/internals/json-format#plan-representation
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.records.errors import PlanRefused

# Destroyed or replaced only where a person names the address.
HOLDS_DATA = frozenset(
    {
        "aws_eks_cluster",
        "aws_kms_key",
        "aws_s3_bucket",
        "aws_secretsmanager_secret",
        "aws_vpc",
        "aws_ecr_repository",
    }
)


@dataclass(frozen=True)
class Change:
    """One resource of a plan. `action`: create, update, replace, delete, import or forget."""

    address: str
    type: str
    action: str
    planned: Mapping[str, Any]
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """A saved terraform plan: its file and its changes, no-ops left out.

    `differs`: whether there is anything to apply; outputs may change where no resource does.
    """

    file: Path
    changes: tuple[Change, ...]
    differs: bool

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(change.action for change in self.changes))

    def __str__(self) -> str:
        return ", ".join(f"{n} to {action}" for action, n in sorted(self.counts.items())) or "no changes"


def read_plan(document: Mapping[str, Any], file: Path) -> Plan:
    """Parse the output of `terraform show -json PLAN`."""
    changes = []
    for entry in document.get("resource_changes", ()):
        action = _action(entry["change"])
        if entry.get("mode") == "managed" and action:
            changes.append(
                Change(
                    entry["address"],
                    entry["type"],
                    action,
                    entry["change"].get("after") or {},
                    entry.get("action_reason", ""),
                )
            )
    return Plan(file, tuple(changes), differs=True)


def _action(change: Mapping[str, Any]) -> str | None:
    actions = change["actions"]
    if change.get("importing") and actions in (["no-op"], ["update"]):
        return "import"
    if actions in (["no-op"], ["read"]):
        return None
    if set(actions) == {"create", "delete"}:
        return "replace"
    return {"create": "create", "update": "update", "delete": "delete", "forget": "forget"}[actions[0]]


def check_plan(plan: Plan, may_destroy: Collection[str] = ()) -> None:
    """Raise PlanRefused for a plan that destroys or replaces what holds data, unless `may_destroy` names the address."""
    lost = [
        change
        for change in plan.changes
        if change.action in ("delete", "replace")
        and change.type in HOLDS_DATA
        and change.address not in may_destroy
    ]
    if lost:
        raise PlanRefused(
            f"the plan would {lost[0].action} {lost[0].address}, which holds data",
            evidence=[f"{change.action} {change.address}" for change in lost],
            next_command="if that is meant: slipway deploy … "
            + " ".join(f"--may-destroy {change.address}" for change in lost),
        )


def plan_table(plan: Plan) -> list[dict[str, str]]:
    """Rows for a table artifact, deletions first."""
    order = {"delete": 0, "replace": 1, "update": 2, "import": 3, "create": 4, "forget": 5}
    return [
        {"action": change.action, "resource": change.address}
        for change in sorted(plan.changes, key=lambda change: (order[change.action], change.address))
    ]
