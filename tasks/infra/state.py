"""Create and remove the bucket of terraform's states, which terraform cannot create itself."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.records.environment import Environment
from tasks.records.errors import AccessDenied, ToolFailed
from tasks.records.names import ENVIRONMENT_TAG
from tasks.records.progress import Reporter

STATE_VERSION = 4


def state_key(environment: Environment, stack: str) -> str:
    return f"slipway/{environment.name}/{stack}.tfstate"


def backend(environment: Environment, stack: str) -> dict[str, str]:
    """Settings for `terraform init -backend-config`. Path-style addresses work with every S3."""
    return {
        "bucket": environment.storage.state_bucket,
        "key": state_key(environment, stack),
        "region": environment.region,
        "use_path_style": "true",
    }


def ensure_state_bucket(environment: Environment, aws: Aws, reporter: Reporter) -> None:
    """Create the state bucket, versioned, encrypted and private. All settings are written each time, so a run that
    died in between is completed. Raises AccessDenied where the name belongs to somebody else."""
    s3, bucket = aws.client("s3"), environment.storage.state_bucket
    with aws_errors(f"making the state bucket {bucket}"):
        if not _exists(s3, bucket):
            reporter.say(f"making the state bucket {bucket}")
            place: dict[str, Any] = (
                {}
                if aws.region == "us-east-1"
                else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
            )
            s3.create_bucket(Bucket=bucket, **place)
        s3.put_public_access_block(
            Bucket=bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )
        s3.put_bucket_tagging(
            Bucket=bucket,
            Tagging={
                "TagSet": [
                    {"Key": "Project", "Value": "slipway"},
                    {"Key": ENVIRONMENT_TAG, "Value": environment.name},
                ]
            },
        )
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_encryption(
            Bucket=bucket,
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        )


def state_exists(environment: Environment, aws: Aws) -> bool:
    """Whether the environment has a state bucket, and so may have anything else."""
    with aws_errors("looking for the terraform state"):
        return _exists(aws.client("s3"), environment.storage.state_bucket)


def read_outputs(environment: Environment, stack: str, aws: Aws) -> dict[str, Any]:
    """Read a stack's outputs by name from its state in S3; empty where nothing was ever applied.

    The format is terraform's state file, version 4 (terraform 1.11, internal/states/statefile/version4.go).
    Raises ToolFailed for any other version.
    """
    bucket, key = environment.storage.state_bucket, state_key(environment, stack)
    with aws_errors(f"reading the terraform state s3://{bucket}/{key}"):
        try:
            body = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error_code(error) == "NoSuchKey":
                return {}
            raise
    document = json.loads(body)
    if document.get("version") != STATE_VERSION:
        raise ToolFailed(
            f"the state s3://{bucket}/{key} has format version {document.get('version')}, not {STATE_VERSION}",
            next_command="use a Slipway that knows the terraform which wrote it",
        )
    return {name: output["value"] for name, output in document["outputs"].items()}


def _exists(s3: Any, bucket: str) -> bool:
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchBucket"):
            return False
        if error_code(error) in ("403", "AccessDenied"):
            raise AccessDenied(
                f"the bucket {bucket} is not yours, or you may not use it",
                next_command="choose another storage.state_bucket: bucket names are global in AWS",
            ) from error
        raise
    return True


def remove_state_bucket(environment: Environment, aws: Aws) -> None:
    """Delete every version of every object, then the bucket."""
    s3, bucket = aws.client("s3"), environment.storage.state_bucket
    with aws_errors(f"removing the state bucket {bucket}"):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            entries = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            keys = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
            if keys:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        s3.delete_bucket(Bucket=bucket)
