"""Tell what this environment made from what only has the same name. Nothing else is adopted, changed or deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.records.errors import AccessDenied, InputError, NotOurs
from tasks.records.names import ENVIRONMENT_TAG

Planned = Mapping[str, Any]
Tags = dict[str, str]


def check_is_ours(name: str, tags: Tags, environment: str, setting: str) -> None:
    """Raises NotOurs where `tags` do not name `environment`; `setting` is the key of environments/*.yaml to change."""
    if tags.get(ENVIRONMENT_TAG) == environment:
        return
    raise NotOurs(
        f"{name} exists and does not carry the tag {ENVIRONMENT_TAG}={environment}: it is not this environment's",
        evidence=[f"{key}={value}" for key, value in sorted(tags.items())] or ["it has no tags"],
        next_command=f"choose another {setting} in environments/{environment}.yaml",
    )


def check_bucket_is_ours(s3: Any, bucket: str, environment: str, setting: str) -> None:
    """Raises NotOurs for a bucket of somebody else's.

    One without tags and objects is taken for ours: a run that was killed right after it had made it leaves such a one.
    """
    tags = bucket_tags(s3, bucket)
    if not tags and not s3.list_object_versions(Bucket=bucket, MaxKeys=1).keys() & {
        "Versions",
        "DeleteMarkers",
    }:
        return
    check_is_ours(f"the bucket {bucket}", tags, environment, setting)


def bucket_exists(s3: Any, bucket: str, setting: str) -> bool:
    """Whether this account has the bucket.

    Raises AccessDenied for another account's; `setting` is the key of environments/*.yaml to change.
    """
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error_code(error) == "404":
            return False
        if error_code(error) == "403":
            raise AccessDenied(
                f"the bucket {bucket} belongs to another account, or these credentials lack s3:ListBucket on it",
                next_command=f"choose another {setting}: bucket names are global in AWS",
            ) from error
        raise
    return True


def require_bucket(aws: Aws, bucket: str, setting: str) -> None:
    """Raises InputError for a bucket that is to exist and does not, AccessDenied for another account's."""
    with aws_errors(f"looking for the bucket {bucket}"):
        if bucket_exists(aws.client("s3"), bucket, setting):
            return
    raise InputError(
        f"there is no bucket {bucket}, and existing says that it exists",
        next_command=f"aws s3 mb s3://{bucket}; or leave existing.{setting.split('.')[1]} out: it is made then",
    )


def bucket_tags(s3: Any, bucket: str) -> Tags:
    try:
        return _tags(s3.get_bucket_tagging(Bucket=bucket)["TagSet"])
    except ClientError as error:
        if error_code(error) == "NoSuchTagSet":
            return {}
        raise


def check_adoptable(kind: str, aws: Aws, planned: Planned, identity: str) -> None:
    """Raises NotOurs for a resource that was found by its name alone and is not this environment's.

    Kinds without an entry here are found by this environment's tag, or inside what is.
    """
    environment = (planned.get("tags_all") or planned.get("tags") or {}).get(ENVIRONMENT_TAG)
    read = _READERS.get(kind)
    if read is None or environment is None:
        return
    if kind == "aws_s3_bucket":
        check_bucket_is_ours(aws.client("s3"), identity, environment, "storage.model_bucket")
        return
    tags = read(aws, planned, identity)
    if kind == "aws_cloudwatch_log_group" and not tags:
        # EKS makes this group anew, without tags, when a control plane that was deleted writes once more
        return
    check_is_ours(f"{kind} {identity}", tags, environment, "cluster.name")


def _tags(listed: Sequence[Mapping[str, str]], key: str = "Key", value: str = "Value") -> Tags:
    return {entry[key]: entry[value] for entry in listed}


def _of_role(aws: Aws, planned: Planned, identity: str) -> Tags:
    return _tags(aws.client("iam").get_role(RoleName=identity)["Role"].get("Tags", ()))


def _of_log_group(aws: Aws, planned: Planned, identity: str) -> Tags:
    logs = aws.client("logs")
    groups = logs.describe_log_groups(logGroupNamePrefix=identity)["logGroups"]
    arn = next(group["arn"] for group in groups if group["logGroupName"] == identity).removesuffix(":*")
    return dict(logs.list_tags_for_resource(resourceArn=arn)["tags"])


def _of_launch_template(aws: Aws, planned: Planned, identity: str) -> Tags:
    found = aws.client("ec2").describe_launch_templates(LaunchTemplateIds=[identity])["LaunchTemplates"]
    return _tags(found[0].get("Tags", ()))


def _of_security_group(aws: Aws, planned: Planned, identity: str) -> Tags:
    found = aws.client("ec2").describe_security_groups(GroupIds=[identity])["SecurityGroups"]
    return _tags(found[0].get("Tags", ()))


def _of_key(aws: Aws, planned: Planned, identity: str) -> Tags:
    return _tags(aws.client("kms").list_resource_tags(KeyId=identity)["Tags"], "TagKey", "TagValue")


def _of_secret(aws: Aws, planned: Planned, identity: str) -> Tags:
    return _tags(aws.client("secretsmanager").describe_secret(SecretId=identity).get("Tags", ()))


def _of_cluster(aws: Aws, planned: Planned, identity: str) -> Tags:
    return dict(aws.client("eks").describe_cluster(name=identity)["cluster"].get("tags") or {})


_READERS: dict[str, Callable[[Aws, Planned, str], Tags]] = {
    "aws_s3_bucket": lambda aws, planned, identity: bucket_tags(aws.client("s3"), identity),
    "aws_iam_role": _of_role,
    "aws_cloudwatch_log_group": _of_log_group,
    "aws_launch_template": _of_launch_template,
    "aws_security_group": _of_security_group,
    "aws_kms_key": _of_key,
    "aws_secretsmanager_secret": _of_secret,
    "aws_eks_cluster": _of_cluster,
}
