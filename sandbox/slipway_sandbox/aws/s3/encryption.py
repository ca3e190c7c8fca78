"""Which server-side encryption an object gets, and what that does to its ETag. Nothing is really encrypted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from slipway_sandbox.aws.s3.message import parse
from slipway_sandbox.aws.s3.store import Bucket

SSE = "x-amz-server-side-encryption"
KEY_ID = SSE + "-aws-kms-key-id"
BUCKET_KEY = SSE + "-bucket-key-enabled"
DEFAULT_DOCUMENT = (
    b'<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule>'
    b"<ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault>"
    b"<BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
)  # every bucket since January 2023


def headers_for(bucket: Bucket, asked: Mapping[str, str]) -> dict[str, str]:
    """The encryption headers of a new object: as asked for, else as the bucket says."""
    if SSE in asked:
        return {name: asked[name] for name in (SSE, KEY_ID, BUCKET_KEY) if name in asked}
    rule = parse(bucket.documents.get("encryption", DEFAULT_DOCUMENT)).find("Rule")
    if rule is None:
        return {SSE: "AES256"}
    headers = {SSE: rule.findtext("ApplyServerSideEncryptionByDefault/SSEAlgorithm") or "AES256"}
    if key := rule.findtext("ApplyServerSideEncryptionByDefault/KMSMasterKeyID"):
        headers[KEY_ID] = key
    if rule.findtext("BucketKeyEnabled") == "true":
        headers[BUCKET_KEY] = "true"
    return headers


def by_kms(headers: Mapping[str, str]) -> bool:
    """Whether the ETag is no MD5 (docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html)."""
    return headers.get(SSE, "").startswith("aws:kms")


def opaque_etag() -> str:
    return secrets.token_hex(16)
