"""Buckets and their configurations: kept as the documents they came as, with S3's answers for what was never set."""

from __future__ import annotations

import json
import re

from slipway_sandbox.aws import identity
from slipway_sandbox.aws.s3 import encryption
from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.s3.message import (
    OWNER_ID,
    Answer,
    S3Request,
    iso,
    parse,
    tag_set,
    tags_of,
    xml,
    xml_answer,
)
from slipway_sandbox.aws.s3.store import ALL_128K, Bucket, Store, now
from slipway_sandbox.settings import ACCOUNT_ID

NAME = re.compile(r"(?!xn--|sthree-)(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?![.-]))+[a-z0-9]")
TRANSITION_SIZE = "x-amz-transition-default-minimum-object-size"
TRUE = "true"
BLOCK_ALL = xml(
    "PublicAccessBlockConfiguration",
    ("BlockPublicAcls", TRUE),
    ("IgnorePublicAcls", TRUE),
    ("BlockPublicPolicy", TRUE),
    ("RestrictPublicBuckets", TRUE),
)
OWNER_ENFORCED = xml("OwnershipControls", ("Rule", [("ObjectOwnership", "BucketOwnerEnforced")]))

# what a GET answers for a configuration nobody set: an error's code, or an empty document
NOT_SET = {
    "cors": "NoSuchCORSConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "ownershipControls": "OwnershipControlsNotFoundError",
    "policy": "NoSuchBucketPolicy",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "replication": "ReplicationConfigurationNotFoundError",
    "website": "NoSuchWebsiteConfiguration",
}
EMPTY = {
    "accelerate": xml("AccelerateConfiguration"),
    "logging": xml("BucketLoggingStatus"),
    "notification": xml("NotificationConfiguration"),
    "requestPayment": xml("RequestPaymentConfiguration", ("Payer", "BucketOwner")),
    "versioning": xml("VersioningConfiguration"),
}


class Buckets:
    """ListBuckets, Create/Head/DeleteBucket and the configurations of a bucket."""

    def __init__(self, store: Store, region: str) -> None:
        self._store, self._region = store, region

    def list_buckets(self, request: S3Request) -> Answer:
        prefix = request.query.get("prefix", "")
        with self._store.lock:
            buckets = [b for name, b in sorted(self._store.buckets.items()) if name.startswith(prefix)]
            buckets = [b for b in buckets if b.owner == _account(request)]
        rows = [
            ("Bucket", [("Name", b.name), ("CreationDate", iso(b.created)), ("BucketRegion", b.region)])
            for b in buckets
        ]
        return xml_answer("ListAllMyBucketsResult", ("Owner", [("ID", OWNER_ID)]), ("Buckets", rows))

    def create_bucket(self, request: S3Request) -> Answer:
        body = request.document()
        constraint = parse(body).findtext("LocationConstraint") if body.strip() else None
        name, region = request.bucket, constraint or "us-east-1"
        if not NAME.fullmatch(name) or not 3 <= len(name) <= 63:
            raise S3Error("InvalidBucketName", BucketName=name)
        signed_for = request.scope.region if request.scope else self._region
        if signed_for != region:
            raise S3Error(
                "IllegalLocationConstraintException",
                f"The {constraint or 'unspecified'} location constraint is incompatible for the region specific "
                "endpoint this request was sent to.",
            )
        with self._store.lock:
            owner = _account(request)
            if name in self._store.buckets:
                if self._store.buckets[name].owner != owner:
                    raise S3Error("BucketAlreadyExists", BucketName=name)
                if region != "us-east-1":
                    raise S3Error(
                        "BucketAlreadyOwnedByYou",
                        "Your previous request to create the named bucket succeeded and you already own it.",
                        BucketName=name,
                    )
            else:
                documents = {
                    "encryption": encryption.DEFAULT_DOCUMENT,
                    "publicAccessBlock": BLOCK_ALL,  # every bucket since April 2023
                    "ownershipControls": OWNER_ENFORCED,
                }
                self._store.buckets[name] = Bucket(name, region, now(), owner, documents)
                tags = tags_of(body) if b"<Tag" in body else {}
                self._store.buckets[name].tags = tags
        return Answer(200, headers={"Location": f"/{name}"})

    def head_bucket(self, request: S3Request) -> Answer:
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
        return Answer(
            200, headers={"x-amz-bucket-region": bucket.region, "x-amz-access-point-alias": "false"}
        )

    def delete_bucket(self, request: S3Request) -> Answer:
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
            if bucket.versions:
                raise S3Error("BucketNotEmpty", BucketName=bucket.name)
            del self._store.buckets[bucket.name]
            uploads = list(bucket.uploads.values())
        for upload in uploads:
            for _, blob in upload.parts.values():
                self._store.release(blob)
        return Answer(204)

    def read_document(self, request: S3Request) -> Answer:
        name = request.subresource
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
            document = bucket.documents.get(name)
            tags = dict(bucket.tags)
        headers = {"Content-Type": "application/xml"}
        if name == "acl":
            return Answer(200, document or acl_document(), headers)
        if name == "tagging":
            if not tags:
                raise S3Error("NoSuchTagSet", BucketName=bucket.name)
            return xml_answer("Tagging", tag_set(tags))
        if document is None and name in NOT_SET:
            raise S3Error(NOT_SET[name], BucketName=bucket.name)
        if name == "policy":
            headers = {"Content-Type": "application/json"}
        if name == "lifecycle":
            headers[TRANSITION_SIZE] = bucket.transition_size
        return Answer(200, document if document is not None else EMPTY[name], headers)

    def write_document(self, request: S3Request) -> Answer:
        name, body = request.subresource, request.document()
        if name == "policy":
            _check_policy(body)
        elif body:
            parse(body)
        elif name != "acl":  # an ACL may come in headers alone
            raise S3Error("MissingRequestBodyError", "Request Body is empty")
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
            if name == "versioning":
                bucket.versioning = _versioning(body, bucket)
            if name == "tagging":
                bucket.tags = tags_of(body)
                return Answer(204)
            if body:
                bucket.documents[name] = body
            if name == "lifecycle":
                bucket.transition_size = request.headers.get(TRANSITION_SIZE, ALL_128K)
        headers = {TRANSITION_SIZE: bucket.transition_size} if name == "lifecycle" else {}
        return Answer(204 if name == "policy" else 200, headers=headers)

    def delete_document(self, request: S3Request) -> Answer:
        with self._store.lock:
            bucket = self._store.bucket(request.bucket)
            if request.subresource == "tagging":
                bucket.tags = {}
            elif request.subresource == "encryption":
                bucket.documents["encryption"] = encryption.DEFAULT_DOCUMENT  # S3 falls back to SSE-S3
            else:
                bucket.documents.pop(request.subresource, None)
        return Answer(204)


def check_owner(store: Store, name: str, request: S3Request, header: str) -> None:
    """Refuse what another account owns than the caller's, or than `header` expects. No policy lets other accounts in."""
    bucket = store.buckets.get(name)
    caller = _account(request)
    if bucket and {caller, request.headers.get(header, caller)} != {bucket.owner}:
        raise S3Error("AccessDenied")


def _account(request: S3Request) -> str:
    return identity.account_of(request.scope.access_key) if request.scope else ACCOUNT_ID


def _versioning(body: bytes, bucket: Bucket) -> str:
    status = parse(body).findtext("Status")
    if status not in ("Enabled", "Suspended"):
        raise S3Error("IllegalVersioningConfigurationException", "The Versioning element must be specified")
    return status


def _check_policy(body: bytes) -> None:
    try:
        policy = json.loads(body)
    except ValueError:
        raise S3Error("MalformedPolicy", "This policy contains invalid Json") from None
    if not isinstance(policy, dict) or not isinstance(policy.get("Statement"), list):
        raise S3Error("MalformedPolicy", "Missing required field Statement")
    if identity.has_unknown_principal(policy):
        raise S3Error("MalformedPolicy", "Invalid principal in policy")


def acl_document() -> bytes:
    """The owner's full control: the one ACL there is."""
    text = xml(
        "AccessControlPolicy",
        ("Owner", [("ID", OWNER_ID)]),
        ("AccessControlList", [("Grant", [("Permission", "FULL_CONTROL")])]),
    )
    xsi = "http://www.w3.org/2001/XMLSchema-instance"
    grantee = f'<Grantee xmlns:xsi="{xsi}" xsi:type="CanonicalUser"><ID>{OWNER_ID}</ID></Grantee>'
    return text.replace(b"<Permission>", grantee.encode() + b"<Permission>")
