from __future__ import annotations

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError
from slipway_sandbox.testing import Sandbox

from tasks.cloud.aws import Aws
from tasks.cloud.ebs import EbsPrices, fast_restores
from tasks.infra.inventory import delete_volumes, end_fast_restores, inventory, storage_costs
from tasks.infra.state import ensure_state_bucket, remove_state_bucket, state_exists, state_key
from tasks.records.environment import Environment
from tasks.records.errors import AccessDenied, NotOurs
from tests.support.builders import an_environment
from tests.support.clouds import client_of
from tests.support.heard import Heard


@pytest.fixture
def where() -> Environment:
    unique = uuid.uuid4().hex[:8]
    return an_environment(name=f"e{unique}", storage={"state_bucket": f"states-{unique}"})


def test_the_state_bucket_is_made_versioned_encrypted_and_private(
    stage_aws: Aws, where: Environment, heard: Heard
) -> None:
    s3, bucket = stage_aws.client("s3"), where.storage.state_bucket
    assert not state_exists(where, stage_aws)
    ensure_state_bucket(where, stage_aws, heard)
    assert state_exists(where, stage_aws)
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]


def test_a_half_made_state_bucket_is_completed(stage_aws: Aws, where: Environment, heard: Heard) -> None:
    s3, bucket = stage_aws.client("s3"), where.storage.state_bucket
    s3.create_bucket(Bucket=bucket)
    ensure_state_bucket(where, stage_aws, heard)
    ensure_state_bucket(where, stage_aws, heard)
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert heard.lines == []


def test_the_state_bucket_goes_with_every_version_in_it(
    stage_aws: Aws, where: Environment, heard: Heard
) -> None:
    s3, bucket = stage_aws.client("s3"), where.storage.state_bucket
    ensure_state_bucket(where, stage_aws, heard)
    key = state_key(where, "storage")
    for body in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    s3.delete_object(Bucket=bucket, Key=key)
    assert remove_state_bucket(where, stage_aws, heard)
    with pytest.raises(ClientError):
        s3.head_bucket(Bucket=bucket)


def test_other_states_in_the_bucket_stay_and_so_does_the_bucket(
    stage_aws: Aws, where: Environment, heard: Heard
) -> None:
    s3, bucket = stage_aws.client("s3"), where.storage.state_bucket
    ensure_state_bucket(where, stage_aws, heard)
    others = ["network-team/vpc.tfstate", f"slipway/{where.name}-2/cluster.tfstate"]
    for key in [*others, state_key(where, "storage")]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
    assert not remove_state_bucket(where, stage_aws, heard)
    left = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert left == sorted(others)
    assert f"the state bucket {bucket} stays: it holds {others[0]}" in heard.lines[-1]


def described(s3: Any, bucket: str) -> list[Any]:
    """All a deploy or teardown could have changed of a bucket and of what is in it."""
    return [
        s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
        s3.get_bucket_tagging(Bucket=bucket)["TagSet"],
        s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"],
        s3.get_bucket_versioning(Bucket=bucket).get("Status"),
        [(each["Key"], each["ETag"]) for each in s3.list_objects_v2(Bucket=bucket)["Contents"]],
    ]


@pytest.fixture
def foreign(stage_aws: Aws, where: Environment) -> str:
    """A bucket of the state bucket's name that another team made."""
    s3, bucket = stage_aws.client("s3"), where.storage.state_bucket
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "Owner", "Value": "network"}]})
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]
        },
    )
    s3.put_object(Bucket=bucket, Key="billing/prod.tfstate", Body=b"theirs")
    return bucket


def test_a_foreign_bucket_is_refused_and_nothing_of_it_changes(
    stage_aws: Aws, where: Environment, heard: Heard, foreign: str
) -> None:
    s3 = stage_aws.client("s3")
    before = described(s3, foreign)
    for act in (ensure_state_bucket, remove_state_bucket):
        with pytest.raises(NotOurs) as refused:
            act(where, stage_aws, heard)
        assert foreign in refused.value.cause
        assert "Owner=network" in refused.value.evidence
    assert described(s3, foreign) == before


def test_a_bucket_of_another_account_is_refused_even_with_our_tags(
    sandbox_aws: Sandbox, stage_aws: Aws, where: Environment, heard: Heard
) -> None:
    theirs, bucket = client_of(sandbox_aws, "999988887777", "s3"), where.storage.state_bucket
    theirs.create_bucket(Bucket=bucket)
    ours = {"TagSet": [{"Key": "slipway:environment", "Value": where.name}]}
    theirs.put_bucket_tagging(Bucket=bucket, Tagging=ours)
    theirs.put_object(Bucket=bucket, Key=state_key(where, "storage"), Body=b"theirs")
    before = described(theirs, bucket)
    for act in (ensure_state_bucket, remove_state_bucket):
        with pytest.raises(AccessDenied, match=f"{bucket}"):
            act(where, stage_aws, heard)
    assert described(theirs, bucket) == before


def test_a_bucket_without_tags_that_holds_something_is_not_taken_for_a_half_made_one(
    stage_aws: Aws, where: Environment, heard: Heard
) -> None:
    s3, bucket = stage_aws.client("s3"), where.storage.state_bucket
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="theirs", Body=b"1")
    with pytest.raises(NotOurs):
        ensure_state_bucket(where, stage_aws, heard)


def made_volume(aws: Aws, environment: Environment) -> str:
    tags: Any = [
        {"Key": "slipway:environment", "Value": environment.name},
        {"Key": "kubernetes.io/created-for/pvc/name", "Value": "model-cache-llama"},
        {"Key": "kubernetes.io/created-for/pvc/namespace", "Value": "llm"},
        # the driver's own, by which a cache is told from a node's root volume
        {"Key": "CSIVolumeName", "Value": "pvc-1"},
    ]
    made = aws.client("ec2").create_volume(
        AvailabilityZone="us-east-1a",
        Size=22,
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
    )
    return str(made["VolumeId"])


def test_a_retained_volume_is_listed_with_its_claim(stage_aws: Aws, where: Environment) -> None:
    volume = made_volume(stage_aws, where)
    assert [str(found) for found in inventory(where, stage_aws)] == [
        f"volume {volume} 22 GiB of claim llm/model-cache-llama"
    ]


def made_snapshot(aws: Aws, environment: Environment, volume: str) -> str:
    tags = {
        "slipway:environment": environment.name,
        "slipway:repo": "acme/small",
        "slipway:commit": "c" * 40,
    }
    given: Any = [{"Key": key, "Value": value} for key, value in tags.items()]
    made = aws.client("ec2").create_snapshot(
        VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": given}]
    )
    return str(made["SnapshotId"])


def test_a_snapshot_is_listed_with_its_commit_and_priced(stage_aws: Aws, where: Environment) -> None:
    volume = made_volume(stage_aws, where)
    snapshot = made_snapshot(stage_aws, where, volume)
    assert f"snapshot {snapshot} 22 GiB of acme/small cccccccccccc" in [
        str(found) for found in inventory(where, stage_aws)
    ]
    prices = EbsPrices(gib_month=0.1, iops_month=0.01, mib_s_month=0.05, snapshot_gib_month=0.05)
    assert storage_costs(where, stage_aws, prices) == [
        f"volume {volume}: 2.20 USD a month",
        f"snapshot {snapshot}: at most 1.10 USD a month",
    ]
    assert storage_costs(where, stage_aws, EbsPrices())[0] == f"volume {volume}: price unknown: not asked"


def test_snapshots_are_deleted_with_the_volumes_they_are_of(stage_aws: Aws, where: Environment) -> None:
    volume = made_volume(stage_aws, where)
    snapshot = made_snapshot(stage_aws, where, volume)
    assert delete_volumes(where, stage_aws) == [snapshot, volume]
    assert inventory(where, stage_aws) == []


def test_only_the_environments_own_volumes_are_deleted(stage_aws: Aws, where: Environment) -> None:
    mine, other = made_volume(stage_aws, where), made_volume(stage_aws, an_environment(name="another"))
    assert delete_volumes(where, stage_aws) == [mine]
    left = [v["VolumeId"] for v in stage_aws.client("ec2").describe_volumes()["Volumes"]]
    assert mine not in left
    assert other in left


def test_what_aws_keeps_a_while_after_its_deletion_is_not_left_over(
    stage_aws: Aws, where: Environment
) -> None:
    kms, secrets = stage_aws.client("kms"), stage_aws.client("secretsmanager")
    mark = {"slipway:environment": where.name}
    key = kms.create_key(Tags=[{"TagKey": k, "TagValue": v} for k, v in mark.items()])["KeyMetadata"]["KeyId"]
    secret = secrets.create_secret(
        Name=where.name, SecretString="x", Tags=[{"Key": k, "Value": v} for k, v in mark.items()]
    )["ARN"]
    assert {found.kind for found in inventory(where, stage_aws)} == {"kms", "secretsmanager"}
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    secrets.delete_secret(SecretId=secret, RecoveryWindowInDays=7)
    assert inventory(where, stage_aws) == []


def test_fast_restores_of_kept_snapshots_end_with_the_cluster(stage_aws: Aws, where: Environment) -> None:
    ec2 = stage_aws.client("ec2")
    kept = made_snapshot(stage_aws, where, made_volume(stage_aws, where))
    elsewhere = an_environment(name="another")
    other = made_snapshot(stage_aws, elsewhere, made_volume(stage_aws, elsewhere))
    for snapshot in (kept, other):
        ec2.enable_fast_snapshot_restores(AvailabilityZones=["us-east-1a"], SourceSnapshotIds=[snapshot])
    assert end_fast_restores(where, stage_aws) == [
        f"fast restore of {kept} in us-east-1a is switched off: it was billed"
    ]
    assert fast_restores(stage_aws, [kept, other]).keys() == {other}
    assert end_fast_restores(where, stage_aws) == []
