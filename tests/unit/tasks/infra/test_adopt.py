"""The finders against a running AWS, with resources made as a killed apply would have left them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tasks.cloud.aws import Aws
from tasks.infra.adopt import FINDERS, import_blocks, imports
from tasks.infra.plan import HOLDS_DATA as DATA
from tasks.infra.plan import Change
from tests.support.builders import ROOT


@pytest.fixture
def name() -> str:
    return f"n-{uuid.uuid4().hex[:8]}"


def adopt(aws: Aws, kind: str, planned: dict[str, Any], action: str = "create") -> str | None:
    return imports([Change(f"{kind}.this", kind, action, planned)], aws).get(f"{kind}.this")


def tagged(kind: str, name: str, environment: str = "staging") -> list[dict[str, Any]]:
    tags = [{"Key": "Name", "Value": name}, {"Key": "slipway:environment", "Value": environment}]
    return [{"ResourceType": kind, "Tags": tags}]


def tags(name: str) -> dict[str, Any]:
    return {"tags_all": {"Name": name, "slipway:environment": "staging"}}


@pytest.fixture
def vpc(stage_aws: Aws, name: str) -> str:
    made = stage_aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=tagged("vpc", name))
    return str(made["Vpc"]["VpcId"])


@pytest.mark.parametrize(
    ("identity", "written"),
    [
        ("vpc-1", '"vpc-1"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("${file(1)}", '"$${file(1)}"'),
        ("%{if}", '"%%{if}"'),
    ],
)
def test_an_id_is_written_so_that_terraform_reads_it_unchanged(identity: str, written: str) -> None:
    assert (
        import_blocks({"aws_vpc.this": identity}) == f"import {{\n  to = aws_vpc.this\n  id = {written}\n}}\n"
    )


def test_nothing_found_is_no_block() -> None:
    assert import_blocks({}) == ""


def test_every_kind_that_holds_data_in_our_roots_can_be_adopted() -> None:
    text = "".join(file.read_text() for file in (ROOT / "infra/terraform").glob("*/*.tf"))
    used = {kind for kind in DATA if f'resource "{kind}"' in text}
    assert used <= set(FINDERS)
