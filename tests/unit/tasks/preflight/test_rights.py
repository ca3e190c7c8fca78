from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.preflight.rights import judge_rights, lacking, probes
from tasks.records.errors import CloudError
from tests.support.builders import ROOT, an_environment

MADE = [
    "ec2:AllocateAddress",
    "ec2:CreateLaunchTemplate",
    "eks:ListNodegroups",
    "iam:ListInstanceProfilesForRole",
]
ALLOWED = {
    "allocate_address": "DryRunOperation",
    "create_launch_template": "DryRunOperation",
    "list_nodegroups": "ResourceNotFoundException",
    "describe_pod_identity_association": "ResourceNotFoundException",
    "list_instance_profiles_for_role": "NoSuchEntity",
}


class Answering:
    """AWS whose every operation ends in an error of `codes`, by the operation's name in boto3."""

    def __init__(self, **codes: str) -> None:
        self.codes = ALLOWED | codes

    def client(self, service: str) -> Any:
        return self

    def __getattr__(self, operation: str) -> Any:
        def call(**_: Any) -> None:
            code = self.codes[operation]
            answer: Any = {
                "Error": {"Code": code, "Message": ""},
                "ResponseMetadata": {"HTTPStatusCode": 500 if code == "ServerException" else 400},
            }
            raise ClientError(answer, operation)

        return call


@pytest.mark.parametrize(
    ("existing", "asked"),
    [
        ({}, MADE),
        ({"vpc": "vpc-1"}, MADE[1:]),
        (
            {"cluster": "shared"},
            [
                "ec2:CreateLaunchTemplate",
                "eks:DescribePodIdentityAssociation",
                "iam:ListInstanceProfilesForRole",
            ],
        ),
        (
            {"cluster": "shared", "node_group": "gpu"},
            ["eks:DescribePodIdentityAssociation", "iam:ListInstanceProfilesForRole"],
        ),
    ],
)
def test_rights_are_asked_for_what_will_be_made(existing: dict[str, Any], asked: list[str]) -> None:
    assert [probe.action for probe in probes(an_environment(existing=existing))] == asked


@pytest.mark.parametrize("existing", [{}, {"cluster": "shared"}])
def test_each_right_is_in_the_policy_it_stands_for(existing: dict[str, Any]) -> None:
    for probe in probes(an_environment(existing=existing)):
        statements = json.loads((ROOT / "infra/iam" / f"{probe.policy}.json").read_text())["Statement"]
        actions = {action for each in statements for action in [each["Action"]] if isinstance(action, str)}
        actions |= {
            action for each in statements if isinstance(each["Action"], list) for action in each["Action"]
        }
        assert actions & {probe.action, f"{probe.action.split(':')[0]}:List*"}


def test_what_aws_denies_is_a_failed_row_with_the_policy() -> None:
    aws: Any = Answering(
        create_launch_template="UnauthorizedOperation", list_nodegroups="AccessDeniedException"
    )
    row = judge_rights(lacking(an_environment(), aws))
    assert row.status == "fail"
    assert row.detail.startswith("ec2:CreateLaunchTemplate, eks:ListNodegroups is not allowed")
    assert "attach slipway-terraform to" in row.next_command


@pytest.mark.parametrize("otherwise", [{}, {"allocate_address": "AddressLimitExceeded"}])
def test_what_aws_refuses_for_another_reason_is_a_right(otherwise: dict[str, str]) -> None:
    aws: Any = Answering(**otherwise)
    assert judge_rights(lacking(an_environment(), aws)).status == "ok"


@pytest.mark.parametrize("code", ["ServerException", "ThrottlingException"])
def test_an_error_of_the_service_is_no_answer(code: str) -> None:
    aws: Any = Answering(list_nodegroups=code)
    with pytest.raises(CloudError, match="eks:ListNodegroups"):
        lacking(an_environment(), aws)


def test_rights_that_were_not_asked_for_are_not_said_to_be_there() -> None:
    row = judge_rights(None)
    assert (row.status, row.detail) == (
        "warn",
        "not asked for: this identity only reads, and a worker deploys",
    )
