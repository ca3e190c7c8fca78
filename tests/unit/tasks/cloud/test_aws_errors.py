from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from tasks.cloud.aws import aws_errors
from tasks.cloud.policies import policies_with
from tasks.records.errors import (
    AccessDenied,
    CapacityUnavailable,
    CloudError,
    CloudUnavailable,
    QuotaExceeded,
)
from tests.support.builders import ROOT


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDenied", AccessDenied),
        ("AccessDeniedException", AccessDenied),
        ("UnauthorizedOperation", AccessDenied),
        ("403", AccessDenied),
        ("ExpiredToken", AccessDenied),
        ("ExpiredTokenException", AccessDenied),
        ("UnrecognizedClientException", AccessDenied),
        ("InvalidClientTokenId", AccessDenied),
        ("InsufficientInstanceCapacity", CapacityUnavailable),
        ("VcpuLimitExceeded", QuotaExceeded),
        ("ServiceQuotaExceededException", QuotaExceeded),
        ("ValidationException", CloudError),
    ],
)
def test_awss_refusal_is_an_error_of_the_tree(code: str, kind: type[CloudError]) -> None:
    refusal = ClientError({"Error": {"Code": code, "Message": "no"}}, "CreateCluster")
    with pytest.raises(CloudError) as caught, aws_errors("making the cluster"):
        raise refusal
    assert type(caught.value) is kind
    assert caught.value.cause.startswith("making the cluster: ")
    assert caught.value.evidence == (f"CreateCluster: {code}: no",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "User: arn:aws:iam::1:user/x is not authorized to perform: eks:CreateCluster on resource: arn:aws:eks:r:1:cluster/c",
            "eks:CreateCluster is not allowed on arn:aws:eks:r:1:cluster/c",
        ),
        (
            "You are not authorized to perform this operation. User: x is not authorized to perform: ec2:CreateVpc on resource: "
            "arn:aws:ec2:r:1:vpc/* because no identity-based policy allows the ec2:CreateVpc action",
            "ec2:CreateVpc is not allowed on arn:aws:ec2:r:1:vpc/*",
        ),
        (
            'User: x is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because no …',
            "s3:PutObject is not allowed on arn:aws:s3:::b/k",
        ),
        (
            "Failed to validate if SLR: AWSServiceRoleForAmazonEKSNodegroup already exists due to missing permissions for 'iam:GetRole'",
            "iam:GetRole is not allowed, which EKS needs of its caller",
        ),
    ],
)
def test_a_missing_action_is_named_with_its_resource_and_its_policy(words: str, said: str) -> None:
    refusal = ClientError({"Error": {"Code": "AccessDenied", "Message": words}}, "Something")
    with pytest.raises(AccessDenied) as caught, aws_errors("deploying"):
        raise refusal
    assert caught.value.cause == f"deploying: {said}"
    assert "infra/iam/slipway-" in str(caught.value.next_command)
    assert "running-on-aws.md" in str(caught.value.next_command)


@pytest.mark.parametrize(
    ("action", "policies"),
    [
        ("ec2:CreateVpc", ["slipway-terraform.json"]),
        # by a pattern in one of them
        ("eks:ListNodegroups", ["slipway-terraform.json"]),
        ("s3:ListAllMyBuckets", []),
    ],
)
def test_an_action_is_looked_up_in_the_policies(action: str, policies: list[str]) -> None:
    assert policies_with(action, ROOT / "infra/iam") == policies


@pytest.mark.parametrize("code", ["SlowDown", "ThrottlingException", "RequestLimitExceeded"])
def test_what_aws_refuses_for_now_is_to_be_asked_again_later(code: str) -> None:
    refusal = ClientError({"Error": {"Code": code, "Message": "no"}}, "UploadPart")
    with pytest.raises(CloudError) as caught, aws_errors("s3://b/k"):
        raise refusal
    assert caught.value.cause == f"s3://b/k: AWS goes on refusing UploadPart for now ({code})"
    assert "again in a few minutes" in str(caught.value.next_command)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NoCredentialsError(), AccessDenied),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), CloudUnavailable),
        (ReadTimeoutError(endpoint_url="http://127.0.0.1:1"), CloudUnavailable),
        (ConnectionClosedError(endpoint_url="http://127.0.0.1:1"), CloudUnavailable),
    ],
)
def test_what_boto_itself_says_is_an_error_of_the_tree(error: Exception, kind: type[CloudError]) -> None:
    with pytest.raises(CloudError) as caught, aws_errors("looking"):
        raise error
    assert type(caught.value) is kind


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), aws_errors("counting"):
        raise ZeroDivisionError
