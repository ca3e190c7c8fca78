"""Create and remove the bucket of terraform's states, which terraform cannot create itself."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.infra.ownership import bucket_exists, check_bucket_is_ours, require_bucket
from tasks.records.environment import Environment
from tasks.records.errors import ToolFailed
from tasks.records.names import ENVIRONMENT_TAG
from tasks.records.progress import Reporter

STATE_VERSION = 4
SETTING = "storage.state_bucket"


def state_prefix(environment: Environment) -> str:
    return f"slipway/{environment.name}/"


def state_key(environment: Environment, stack: str) -> str:
    return f"{state_prefix(environment)}{stack}.tfstate"


def backend(environment: Environment, stack: str) -> dict[str, str]:
    """Settings for `terraform init -backend-config`. Path-style addresses work with every S3."""
    return {
        "bucket": environment.storage.state_bucket,
        "key": state_key(environment, stack),
        "region": environment.region,
        "use_path_style": "true",
    }


def ensure_state_bucket(environment: Environment, aws: Aws, reporter: Reporter) -> None:
    """Make the state bucket versioned, encrypted and private; complete one that was left half-made.

    One that the environment says exists is left as it is. Raises InputError where that is not there, NotOurs for a bucket that does not carry this environment's tag, AccessDenied for another account's.
    """
    s3, bucket = aws.client("s3"), environment.storage.state_bucket
    if environment.existing.state_bucket:
        require_bucket(aws, bucket, SETTING)
        return
    with aws_errors(f"making the state bucket {bucket}"):
        if bucket_exists(s3, bucket, SETTING):
            check_bucket_is_ours(s3, bucket, environment.name, SETTING)
        else:
            reporter.say(f"making the state bucket {bucket}")
            place: dict[str, Any] = (
                {}
                if aws.region == "us-east-1"
                else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
            )
            s3.create_bucket(Bucket=bucket, **place)
        # first: a run that is killed after it leaves a bucket that the next one knows
        s3.put_bucket_tagging(
            Bucket=bucket,
            Tagging={
                "TagSet": [
                    *({"Key": key, "Value": value} for key, value in environment.tags.items()),
                    {"Key": "Project", "Value": "slipway"},
                    {"Key": ENVIRONMENT_TAG, "Value": environment.name},
                ]
            },
        )
        s3.put_public_access_block(
            Bucket=bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
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
        return bucket_exists(aws.client("s3"), environment.storage.state_bucket, SETTING)


def read_outputs(environment: Environment, stack: str, aws: Aws) -> dict[str, Any]:
    """Read a stack's outputs by name from its state in S3; empty where nothing was ever applied. Raises ToolFailed."""
    outputs = _read_state(environment, stack, aws).get("outputs", {})
    return {name: output["value"] for name, output in outputs.items()}


def read_resources(environment: Environment, stack: str, aws: Aws) -> list[str]:
    """Read the addresses of what a stack manages, without the keys of instances, from its state in S3. Raises ToolFailed."""
    resources = _read_state(environment, stack, aws).get("resources", ())
    return [f"{each['type']}.{each['name']}" for each in resources if each["mode"] == "managed"]


def _read_state(environment: Environment, stack: str, aws: Aws) -> dict[str, Any]:
    """The state file; empty where there is none.

    The format is terraform's version 4 (terraform 1.11, internal/states/statefile/version4.go). Raises ToolFailed for another.
    """
    bucket, key = environment.storage.state_bucket, state_key(environment, stack)
    with aws_errors(f"reading the terraform state s3://{bucket}/{key}"):
        try:
            body = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error_code(error) == "NoSuchKey":
                return {}
            raise
    document: dict[str, Any] = json.loads(body)
    if document.get("version") != STATE_VERSION:
        raise ToolFailed(
            f"the state s3://{bucket}/{key} has format version {document.get('version')}, not {STATE_VERSION}",
            next_command="use a Slipway that knows the terraform which wrote it",
        )
    return document


def remove_state_bucket(environment: Environment, aws: Aws, reporter: Reporter) -> bool:
    """Delete every version of this environment's states, then the bucket; False where it holds what is not ours.

    Raises NotOurs for a bucket that does not carry this environment's tag.
    """
    s3, bucket = aws.client("s3"), environment.storage.state_bucket
    with aws_errors(f"removing the state bucket {bucket}"):
        if not environment.existing.state_bucket:
            check_bucket_is_ours(s3, bucket, environment.name, SETTING)
        pages = s3.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=bucket, Prefix=state_prefix(environment)):
            keys = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in _versions(page)]
            if keys:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        if environment.existing.state_bucket:
            reporter.say(
                f"the state bucket {bucket} stays, without this environment's states: it was there before"
            )
            return False
        others = [each["Key"] for each in _versions(s3.list_object_versions(Bucket=bucket, MaxKeys=1))]
        if others:
            reporter.say(
                f"the state bucket {bucket} stays: it holds {others[0]}, which is not this environment's"
            )
            return False
        s3.delete_bucket(Bucket=bucket)
    return True


def _versions(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
