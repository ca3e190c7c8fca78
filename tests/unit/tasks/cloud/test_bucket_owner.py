from __future__ import annotations

import re
from typing import Any

import pytest

from tasks.cloud.aws import Aws
from tests.support.builders import ROOT

# S3 knows no owner of a bucket that is only being made; the product calls no other of these
WITHOUT_OWNER = {
    "CreateBucket",
    "CreateSession",
    "ListBuckets",
    "ListDirectoryBuckets",
    "RenameObject",
    "WriteGetObjectResponse",
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(Aws, "account", "111122223333")
    return Aws("us-east-1")


def owner_in(s3: Any, operation: str, **given: Any) -> str | None:
    """The owner that an S3 client names in a call with the parameters `given`."""
    parameters: dict[str, Any] = dict(given)
    model = s3.meta.service_model.operation_model(operation)
    s3.meta.events.emit(f"before-parameter-build.s3.{operation}", params=parameters, model=model, context={})
    owner: str | None = parameters.get("ExpectedBucketOwner")
    return owner


def test_every_call_names_the_account_of_the_credentials(aws: Aws) -> None:
    s3 = aws.client("s3")
    silent = {name for name in s3.meta.service_model.operation_names if not owner_in(s3, name)}
    assert silent == WITHOUT_OWNER
    assert owner_in(s3, "GetObject") == "111122223333"


def test_another_accounts_bucket_is_named_as_that(aws: Aws) -> None:
    assert owner_in(aws.s3_of("444455556666"), "GetObject") == "444455556666"
    assert owner_in(aws.client("s3"), "GetObject") == "111122223333"


def test_the_owner_is_a_signed_header(aws: Aws) -> None:
    url = aws.client("s3").generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    assert "x-amz-expected-bucket-owner" in url


def test_clients_of_aws_are_made_in_one_place() -> None:
    makers = {
        str(file.relative_to(ROOT))
        for folder in ("flows", "tasks", "k8s")
        for file in (ROOT / folder).rglob("*.py")
        if re.search(r"^import boto3", file.read_text(), re.MULTILINE)
    }
    assert makers == {"tasks/cloud/aws.py", "k8s/cache/warmer/source.py"}
