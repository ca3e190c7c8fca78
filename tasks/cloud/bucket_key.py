"""Read the KMS key that a bucket encrypts with by default."""

from __future__ import annotations

from tasks.cloud.aws import Aws, aws_errors


def default_key(bucket: str, aws: Aws) -> str | None:
    """Its id, ARN or alias; None where S3's own key encrypts. Raises AccessDenied, CloudError."""
    with aws_errors(f"reading the encryption of the bucket {bucket}"):
        answer = aws.client("s3").get_bucket_encryption(Bucket=bucket)
    for rule in answer["ServerSideEncryptionConfiguration"]["Rules"]:
        if key := rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID"):
            return str(key)
    return None
