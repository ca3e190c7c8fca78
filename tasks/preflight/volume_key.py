"""The key the account encrypts volumes with by default: node groups cannot launch with a key that Auto Scaling may not use."""

from __future__ import annotations

from tasks.cloud.aws import Aws, aws_errors
from tasks.preflight.rows import Row

AWS_MANAGED = "alias/aws/ebs"
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html
OPERATIONS = "Encrypt Decrypt ReEncryptFrom ReEncryptTo GenerateDataKey GenerateDataKeyWithoutPlaintext DescribeKey CreateGrant"


def default_volume_key(aws: Aws) -> str:
    """Its alias or ARN: alias/aws/ebs unless the account chose its own. Raises AccessDenied, CloudError."""
    with aws_errors("asking for the account's default key of volumes"):
        return str(aws.client("ec2").get_ebs_default_kms_key_id()["KmsKeyId"])


def judge_volume_key(key: str, account: str) -> Row:
    """A warning where the account chose a key: whether its policy lets Auto Scaling in cannot be asked for."""
    if key.endswith(AWS_MANAGED):
        return Row("ok", "volumes are encrypted with AWS's own key")
    role = (
        f"arn:aws:iam::{account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    )
    return Row(
        "warn",
        f"volumes are encrypted with {key}: nodes end with Client.InvalidKMSKey.InvalidState where its policy or a grant "
        "does not let Auto Scaling use it",
        f"aws kms create-grant --key-id {key} --grantee-principal {role} --operations {OPERATIONS}",
    )
