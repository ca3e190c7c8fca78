"""Buckets, and what hashicorp/aws splits off them into resources of their own."""

from __future__ import annotations

import json
from typing import Any

from slipway_sandbox.terraform.provider.resources.shapes import compact, first, tag_list, tag_map
from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    Block,
    Resource,
    State,
    computed,
    only,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone

# ------------------------------------------------------------------ the bucket


def _create_bucket(session: Session, planned: State) -> State:
    home = {} if session.region == "us-east-1" else {"LocationConstraint": session.region}
    session.client("s3").create_bucket(
        **compact({"Bucket": planned["bucket"], "CreateBucketConfiguration": home})
    )
    return {"id": planned["bucket"]}


def _retag_bucket(session: Session, state: State, *_changes: object) -> None:
    s3 = session.client("s3")
    if state["tags_all"]:
        s3.put_bucket_tagging(Bucket=state["id"], Tagging={"TagSet": tag_list(state["tags_all"])})
    else:
        s3.delete_bucket_tagging(Bucket=state["id"])


def _read_bucket(session: Session, state: State) -> State | None:
    s3, name = session.client("s3"), state["id"]
    if unless_gone(lambda: s3.head_bucket(Bucket=name), "404", "NoSuchBucket") is None:
        return None
    tags = unless_gone(lambda: s3.get_bucket_tagging(Bucket=name)["TagSet"], "NoSuchTagSet")
    return {
        "id": name,
        "bucket": name,
        "arn": f"arn:aws:s3:::{name}",
        "tags": tag_map(tags),
    }


def _delete_bucket(session: Session, state: State) -> None:
    s3, name = session.client("s3"), state["id"]
    if state.get("force_destroy"):
        unless_gone(lambda: _empty(s3, name))
    unless_gone(lambda: s3.delete_bucket(Bucket=name))


def _empty(s3: Any, name: str) -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        if found:
            objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            s3.delete_objects(Bucket=name, Delete={"Objects": objects, "Quiet": True})


BUCKET = resource(
    {
        "bucket": optional(STRING, computed=True, forces_new=True),
        "force_destroy": optional(BOOL, default=False),
        "arn": computed(STRING),
    },
    create=_create_bucket,
    settle=lambda session, state: _retag_bucket(session, state) if state["tags_all"] else None,
    read=_read_bucket,
    retag=_retag_bucket,
    delete=_delete_bucket,
)


# ------------------------------------------------------------------ one aspect of a bucket each


def _aspect(
    attributes: dict[str, Any], blocks: dict[str, Block], *, put: Any, get: Any, remove: Any, absent: str
) -> Resource:
    """A resource that is one subresource of a bucket: its id is the bucket's name, `put` writes all of it.

    get(s3, bucket) -> attributes; `absent` is the code S3 answers when nothing was ever put there.
    """

    def create(session: Session, planned: State) -> State:
        put(session.client("s3"), planned["bucket"], planned)
        return {"id": planned["bucket"]}

    def read(session: Session, state: State) -> State | None:
        name = state["id"]
        shown = unless_gone(lambda: get(session.client("s3"), name), absent, "NoSuchBucket")
        return None if shown is None else {"id": name, "bucket": name} | shown

    def update(session: Session, _prior: State, planned: State) -> None:
        put(session.client("s3"), planned["bucket"], planned)

    def delete(session: Session, state: State) -> None:
        unless_gone(lambda: remove(session.client("s3"), state["id"]), absent, "NoSuchBucket")

    return resource(
        {"bucket": required(STRING, forces_new=True)} | attributes,
        blocks=blocks,
        create=create,
        read=read,
        update=update,
        delete=delete,
    )


def _put_versioning(s3: Any, name: str, planned: State) -> None:
    status = planned["versioning_configuration"][0]["status"]
    if status != "Disabled":  # a bucket is born without; AWS knows no request for that
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})


def _get_versioning(s3: Any, name: str) -> State:
    status = s3.get_bucket_versioning(Bucket=name).get("Status", "Disabled")
    return {"versioning_configuration": [{"status": status, "mfa_delete": ""}]}


def _suspend_versioning(s3: Any, name: str) -> None:
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})


VERSIONING = _aspect(
    {},
    {
        "versioning_configuration": only(
            {"status": required(STRING), "mfa_delete": optional(STRING, computed=True)}, min_items=1
        )
    },
    put=_put_versioning,
    get=_get_versioning,
    remove=_suspend_versioning,
    absent="NoSuchBucket",
)


def _put_encryption(s3: Any, name: str, planned: State) -> None:
    rules = []
    for rule in planned["rule"]:
        by_default = first(rule["apply_server_side_encryption_by_default"])
        chosen = by_default and compact(
            {"SSEAlgorithm": by_default["sse_algorithm"], "KMSMasterKeyID": by_default["kms_master_key_id"]}
        )
        rules.append(
            compact(
                {"ApplyServerSideEncryptionByDefault": chosen, "BucketKeyEnabled": rule["bucket_key_enabled"]}
            )
        )
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})


def _get_encryption(s3: Any, name: str) -> State:
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    shown = []
    for rule in rules:
        chosen = rule.get("ApplyServerSideEncryptionByDefault")
        by_default = (
            [{"sse_algorithm": chosen["SSEAlgorithm"], "kms_master_key_id": chosen.get("KMSMasterKeyID")}]
            if chosen
            else []
        )
        shown.append(
            {
                "bucket_key_enabled": rule.get("BucketKeyEnabled", False),
                "apply_server_side_encryption_by_default": by_default,
            }
        )
    return {"rule": shown}


ENCRYPTION = _aspect(
    {},
    {
        "rule": Block(
            {"bucket_key_enabled": optional(BOOL)},
            {
                "apply_server_side_encryption_by_default": only(
                    {"sse_algorithm": required(STRING), "kms_master_key_id": optional(STRING)}
                )
            },
            nesting="set",
            min_items=1,
        )
    },
    put=_put_encryption,
    get=_get_encryption,
    remove=lambda s3, name: s3.delete_bucket_encryption(Bucket=name),
    absent="ServerSideEncryptionConfigurationNotFoundError",
)

_BLOCKED = {
    "block_public_acls": "BlockPublicAcls",
    "block_public_policy": "BlockPublicPolicy",
    "ignore_public_acls": "IgnorePublicAcls",
    "restrict_public_buckets": "RestrictPublicBuckets",
}


def _put_access_block(s3: Any, name: str, planned: State) -> None:
    chosen = {theirs: bool(planned[ours]) for ours, theirs in _BLOCKED.items()}
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=chosen)


def _get_access_block(s3: Any, name: str) -> State:
    shown = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    return {ours: shown[theirs] for ours, theirs in _BLOCKED.items()}


PUBLIC_ACCESS_BLOCK = _aspect(
    {name: optional(BOOL, default=False) for name in _BLOCKED},
    {},
    put=_put_access_block,
    get=_get_access_block,
    remove=lambda s3, name: s3.delete_public_access_block(Bucket=name),
    absent="NoSuchPublicAccessBlockConfiguration",
)


def _put_ownership(s3: Any, name: str, planned: State) -> None:
    rules = [{"ObjectOwnership": rule["object_ownership"]} for rule in planned["rule"]]
    s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls={"Rules": rules})


def _get_ownership(s3: Any, name: str) -> State:
    rules = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
    return {"rule": [{"object_ownership": rule["ObjectOwnership"]} for rule in rules]}


OWNERSHIP_CONTROLS = _aspect(
    {},
    {"rule": only({"object_ownership": required(STRING)}, min_items=1)},
    put=_put_ownership,
    get=_get_ownership,
    remove=lambda s3, name: s3.delete_bucket_ownership_controls(Bucket=name),
    absent="OwnershipControlsNotFoundError",
)

POLICY = _aspect(
    {"policy": required(STRING, document=True)},
    {},
    put=lambda s3, name, planned: s3.put_bucket_policy(Bucket=name, Policy=planned["policy"]),
    get=lambda s3, name: {"policy": json.dumps(json.loads(s3.get_bucket_policy(Bucket=name)["Policy"]))},
    remove=lambda s3, name: s3.delete_bucket_policy(Bucket=name),
    absent="NoSuchBucketPolicy",
)


# ------------------------------------------------------------------ lifecycle


def _lifecycle_rule(rule: State) -> dict[str, Any]:
    scope, incomplete = first(rule["filter"]), first(rule["abort_incomplete_multipart_upload"])
    noncurrent = first(rule["noncurrent_version_expiration"])
    return compact(
        {
            "ID": rule["id"],
            "Status": rule["status"],
            "AbortIncompleteMultipartUpload": incomplete
            and {"DaysAfterInitiation": incomplete["days_after_initiation"]},
            "NoncurrentVersionExpiration": noncurrent and {"NoncurrentDays": noncurrent["noncurrent_days"]},
        }
    ) | {"Filter": {"Prefix": (scope or {}).get("prefix") or ""}}


def _put_lifecycle(s3: Any, name: str, planned: State) -> None:
    rules = [_lifecycle_rule(rule) for rule in planned["rule"]]
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})


def _get_lifecycle(s3: Any, name: str) -> State:
    shown = []
    for rule in s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]:
        incomplete = rule.get("AbortIncompleteMultipartUpload")
        noncurrent = rule.get("NoncurrentVersionExpiration")
        shown.append(
            {
                "id": rule["ID"],
                "status": rule["Status"],
                "filter": [{"prefix": rule.get("Filter", {}).get("Prefix") or ""}],
                "abort_incomplete_multipart_upload": [
                    {"days_after_initiation": incomplete["DaysAfterInitiation"]}
                ]
                if incomplete
                else [],
                "noncurrent_version_expiration": [{"noncurrent_days": noncurrent["NoncurrentDays"]}]
                if noncurrent
                else [],
            }
        )
    return {"rule": shown}


LIFECYCLE = _aspect(
    {},
    {
        "rule": Block(
            {"id": required(STRING), "status": required(STRING)},
            {
                "filter": Block({"prefix": optional(STRING, default="")}),
                "abort_incomplete_multipart_upload": Block({"days_after_initiation": optional(NUMBER)}),
                "noncurrent_version_expiration": Block({"noncurrent_days": required(NUMBER)}),
            },
        )
    },
    put=_put_lifecycle,
    get=_get_lifecycle,
    remove=lambda s3, name: s3.delete_bucket_lifecycle(Bucket=name),
    absent="NoSuchLifecycleConfiguration",
)


def _put_logging(s3: Any, name: str, planned: State) -> None:
    target = {"TargetBucket": planned["target_bucket"], "TargetPrefix": planned["target_prefix"]}
    s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={"LoggingEnabled": target})


def _get_logging(s3: Any, name: str) -> State | None:
    enabled = s3.get_bucket_logging(Bucket=name).get("LoggingEnabled")
    return enabled and {"target_bucket": enabled["TargetBucket"], "target_prefix": enabled["TargetPrefix"]}


LOGGING = _aspect(
    {"target_bucket": required(STRING), "target_prefix": required(STRING)},
    {},
    put=_put_logging,
    get=_get_logging,
    remove=lambda s3, name: s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={}),
    absent="NoSuchBucket",
)

RESOURCES = {
    "aws_s3_bucket": BUCKET,
    "aws_s3_bucket_versioning": VERSIONING,
    "aws_s3_bucket_server_side_encryption_configuration": ENCRYPTION,
    "aws_s3_bucket_public_access_block": PUBLIC_ACCESS_BLOCK,
    "aws_s3_bucket_ownership_controls": OWNERSHIP_CONTROLS,
    "aws_s3_bucket_policy": POLICY,
    "aws_s3_bucket_lifecycle_configuration": LIFECYCLE,
    "aws_s3_bucket_logging": LOGGING,
}
