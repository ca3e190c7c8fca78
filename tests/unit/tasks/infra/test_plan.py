from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.infra.plan import HOLDS_DATA, Change, Plan, check_plan, plan_table, read_plan
from tasks.records.errors import PlanRefused

FILE = Path("slipway.tfplan")


def entry(actions: list[str], **over: Any) -> dict[str, Any]:
    """One element of `resource_changes`, as `terraform show -json` writes it."""
    change = {"actions": actions, "before": None, "after": {"name": "x"}, **over.pop("change", {})}
    return {"address": "aws_vpc.this", "mode": "managed", "type": "aws_vpc", "change": change, **over}


def planned(*changes: tuple[str, str]) -> Plan:
    return Plan(
        FILE,
        tuple(Change(address, address.split(".")[0], action, {}) for address, action in changes),
        differs=bool(changes),
    )


@pytest.mark.parametrize(
    ("actions", "more", "action"),
    [
        (["create"], {}, "create"),
        (["update"], {}, "update"),
        (["delete"], {}, "delete"),
        (["delete", "create"], {}, "replace"),
        (["create", "delete"], {}, "replace"),
        (["forget"], {}, "forget"),
        (["no-op"], {"importing": {"id": "vpc-1"}}, "import"),
        (["update"], {"importing": {"id": "vpc-1"}}, "import"),
        (["delete", "create"], {"importing": {"id": "vpc-1"}}, "replace"),
    ],
)
def test_what_terraform_will_do_in_one_word(actions: list[str], more: dict[str, Any], action: str) -> None:
    (change,) = read_plan({"resource_changes": [entry(actions, change=more)]}, FILE).changes
    assert (change.address, change.type, change.action) == ("aws_vpc.this", "aws_vpc", action)


@pytest.mark.parametrize(
    "nothing",
    [entry(["no-op"]), entry(["read"]), entry(["read"], mode="data"), entry(["create"], mode="data")],
)
def test_what_changes_nothing_is_left_out(nothing: dict[str, Any]) -> None:
    assert read_plan({"resource_changes": [nothing]}, FILE).changes == ()


def test_a_plan_without_resources_has_no_changes() -> None:
    plan = read_plan({"format_version": "1.2"}, FILE)
    assert (plan.changes, str(plan)) == ((), "no changes")


def test_a_deletion_has_nothing_planned() -> None:
    (change,) = read_plan({"resource_changes": [entry(["delete"], change={"after": None})]}, FILE).changes
    assert change.planned == {}


def test_what_a_stopped_apply_left_tainted_is_recognised() -> None:
    tainted = entry(["delete", "create"], action_reason="replace_because_tainted")
    (change,) = read_plan({"resource_changes": [tainted]}, FILE).changes
    assert change.reason == "replace_because_tainted"


def test_a_plan_is_told_by_its_counts() -> None:
    plan = planned(("a.x", "create"), ("a.y", "create"), ("a.z", "delete"))
    assert str(plan) == "2 to create, 1 to delete"


@pytest.mark.parametrize("kind", sorted(HOLDS_DATA))
@pytest.mark.parametrize("action", ["delete", "replace"])
def test_what_holds_data_is_not_destroyed_by_the_way(kind: str, action: str) -> None:
    with pytest.raises(PlanRefused, match=f"would {action} {kind}.this") as caught:
        check_plan(planned((f"{kind}.this", action)))
    assert f"--may-destroy {kind}.this" in str(caught.value.next_command)


@pytest.mark.parametrize(
    "change",
    [
        ("aws_vpc.this", "create"),
        ("aws_vpc.this", "update"),
        ("aws_vpc.this", "import"),
        ("aws_vpc.this", "forget"),
        ("aws_subnet.private[0]", "delete"),
        ("aws_eks_node_group.gpu", "replace"),
    ],
)
def test_other_changes_pass(change: tuple[str, str]) -> None:
    check_plan(planned(change))


def test_only_the_address_that_was_named_may_go() -> None:
    plan = planned(("aws_s3_bucket.models", "delete"), ("aws_kms_key.models", "delete"))
    with pytest.raises(PlanRefused) as caught:
        check_plan(plan, ["aws_s3_bucket.models"])
    assert caught.value.evidence == ("delete aws_kms_key.models",)
    check_plan(plan, ["aws_s3_bucket.models", "aws_kms_key.models"])


def test_a_prefix_of_an_address_does_not_name_it() -> None:
    with pytest.raises(PlanRefused):
        check_plan(planned(("aws_s3_bucket.models", "delete")), ["aws_s3_bucket", "aws_s3_bucket.model"])


def test_the_table_shows_the_dangerous_first() -> None:
    plan = planned(
        ("b.x", "create"), ("a.x", "create"), ("a.i", "import"), ("a.u", "update"), ("a.r", "replace"),
        ("a.d", "delete"), ("a.f", "forget"),
    )  # fmt: skip
    assert [f"{row['action']} {row['resource']}" for row in plan_table(plan)] == [
        "delete a.d", "replace a.r", "update a.u", "import a.i", "create a.x", "create b.x", "forget a.f",
    ]  # fmt: skip
