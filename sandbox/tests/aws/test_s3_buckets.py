from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.test_s3_objects import failure


def keys(listed: dict[str, Any]) -> list[str]:
    return [row["Key"] for row in listed.get("Contents", [])]


def fill(s3: Any, bucket: str, *names: str) -> None:
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"")


def test_keys_are_listed_in_order_under_a_prefix(s3: Any, bucket: str) -> None:
    fill(s3, bucket, "b", "a/2", "a/1", "c é+&")
    assert keys(s3.list_objects_v2(Bucket=bucket)) == ["a/1", "a/2", "b", "c é+&"]
    assert keys(s3.list_objects_v2(Bucket=bucket, Prefix="a/")) == ["a/1", "a/2"]
    assert keys(s3.list_objects_v2(Bucket=bucket, StartAfter="a/2")) == ["b", "c é+&"]


def test_a_delimiter_folds_keys_into_common_prefixes(s3: Any, bucket: str) -> None:
    fill(s3, bucket, "m/x/1", "m/x/2", "m/y", "n")
    listed = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert (keys(listed), [p["Prefix"] for p in listed["CommonPrefixes"]]) == (["n"], ["m/"])
    deeper = s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="m/")
    assert (keys(deeper), [p["Prefix"] for p in deeper["CommonPrefixes"]]) == (["m/y"], ["m/x/"])


def test_pages_follow_one_another_without_loss(s3: Any, bucket: str) -> None:
    names = [f"d{n % 3}/{n:02}" for n in range(12)] + ["e", "f"]
    fill(s3, bucket, *names)
    paginator = s3.get_paginator("list_objects_v2")
    found = [
        key
        for page in paginator.paginate(Bucket=bucket, PaginationConfig={"PageSize": 5})
        for key in keys(page)
    ]
    assert found == sorted(names)
    pages = list(paginator.paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 2}))
    folded = [row["Prefix"] for page in pages for row in page.get("CommonPrefixes", [])]
    assert (folded, [key for page in pages for key in keys(page)]) == (["d0/", "d1/", "d2/"], ["e", "f"])


def test_versions_are_kept_and_a_delete_is_a_marker(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="x", Body=b"1")["VersionId"]
    s3.put_object(Bucket=bucket, Key="x", Body=b"2")
    gone = s3.delete_object(Bucket=bucket, Key="x")
    assert gone["DeleteMarker"]
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="x")
    assert s3.get_object(Bucket=bucket, Key="x", VersionId=first)["Body"].read() == b"1"
    listed = s3.list_object_versions(Bucket=bucket)
    assert (len(listed["Versions"]), len(listed["DeleteMarkers"])) == (2, 1)
    s3.delete_object(Bucket=bucket, Key="x", VersionId=gone["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="x")["Body"].read() == b"2"


def test_versions_are_paged_without_loss(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = {s3.put_object(Bucket=bucket, Key=key, Body=b"")["VersionId"] for key in ("a", "b", "b", "b", "c")}
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    found = [row["VersionId"] for page in pages for row in page.get("Versions", [])]
    assert (set(found), len(found)) == (made, 5)


def test_objects_are_deleted_many_at_a_time(s3: Any, bucket: str) -> None:
    fill(s3, bucket, "a", "b", "c")
    done = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}, {"Key": "never"}]}
    )
    assert [row["Key"] for row in done["Deleted"]] == ["a", "b", "never"]
    assert keys(s3.list_objects_v2(Bucket=bucket)) == ["c"]


def test_a_bucket_goes_only_when_it_is_empty(s3: Any, bucket: str) -> None:
    fill(s3, bucket, "a")
    with pytest.raises(ClientError) as error:
        s3.delete_bucket(Bucket=bucket)
    assert failure(error) == ("BucketNotEmpty", 409)
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_bucket(Bucket=bucket)
    with pytest.raises(ClientError) as error:
        s3.head_bucket(Bucket=bucket)
    assert failure(error)[1] == 404


def test_a_bad_bucket_name_is_refused(s3: Any) -> None:
    with pytest.raises(ClientError) as error:
        s3.create_bucket(Bucket="Not-a-name")
    assert failure(error)[0] == "InvalidBucketName"


def test_a_new_bucket_is_private_encrypted_and_owner_enforced(s3: Any, bucket: str) -> None:
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert all(block.values())
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    owner = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"][0]
    assert owner["ObjectOwnership"] == "BucketOwnerEnforced"
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)


@pytest.mark.parametrize(
    ("read", "code"),
    [
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
        ("get_bucket_tagging", "NoSuchTagSet"),
    ],
)
def test_what_was_never_configured_is_named_so(s3: Any, bucket: str, read: str, code: str) -> None:
    with pytest.raises(ClientError) as error:
        getattr(s3, read)(Bucket=bucket)
    assert failure(error) == (code, 404)


@pytest.mark.parametrize(
    "read",
    [
        "get_bucket_accelerate_configuration",
        "get_bucket_acl",
        "get_bucket_logging",
        "get_bucket_notification_configuration",
        "get_bucket_request_payment",
    ],
)
def test_what_every_bucket_has_is_answered(s3: Any, bucket: str, read: str) -> None:
    assert getattr(s3, read)(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_configurations_come_back_as_they_were_put(s3: Any, bucket: str) -> None:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*"}]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == policy
    rule = {
        "ID": "abort",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "1"}]


def test_the_buckets_key_seals_its_objects(s3: Any, bucket: str) -> None:
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:aws:kms:us-east-1:123456789012:key/k"}
    rules = [{"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}]
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    put = s3.put_object(Bucket=bucket, Key="x", Body=b"1")
    assert (put["ServerSideEncryption"], put["BucketKeyEnabled"]) == ("aws:kms", True)
    assert s3.head_object(Bucket=bucket, Key="x")["SSEKMSKeyId"] == by_default["KMSMasterKeyID"]


def test_a_malformed_policy_is_refused(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_bucket_policy(Bucket=bucket, Policy="{")
    assert failure(error)[0] == "MalformedPolicy"
