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
from tasks.records.errors import (
    AccessDenied,
    CapacityUnavailable,
    CloudError,
    CloudUnavailable,
    QuotaExceeded,
)


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
