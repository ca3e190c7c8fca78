"""List what an environment has in AWS, by its tags: before a teardown, and to prove that nothing is left after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.cloud.ebs import FREE_IOPS, FREE_MIB_S, EbsPrices, fast_restores, set_fast_restore
from tasks.records.environment import Environment
from tasks.records.names import COMMIT_TAG, ENVIRONMENT_TAG, GATEWAY, REPO_TAG

# The EBS CSI driver's tag of what it made. Nodes' root volumes carry the environment's tag too, and go with their nodes:
# https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/v1.64.0/pkg/cloud/cloud.go VolumeNameTagKey
CLAIMED = "CSIVolumeName"
GONE = {"terminated", "shutting-down", "deleted", "deleting", "PendingDeletion"}


@dataclass(frozen=True)
class Leftover:
    """One resource that exists in AWS."""

    kind: str
    identity: str

    def __str__(self) -> str:
        return f"{self.kind} {self.identity}"


def inventory(environment: Environment, aws: Aws) -> list[Leftover]:
    """All resources tagged for the environment or created by its cluster for Kubernetes. Raises CloudError."""
    with aws_errors("listing what is left"):
        found = {*_tagged(environment, aws), *_instances(environment, aws), *volumes(environment, aws)}
        found |= set(snapshots(environment, aws))
        found |= set(_clusters(environment, aws))
        found |= set(_log_groups(environment, aws))
    return sorted(found, key=str)


def volumes(environment: Environment, aws: Aws) -> list[Leftover]:
    """EBS volumes of cache claims, by the tag their StorageClass gives them; retained ones outlive the cluster."""
    return [
        Leftover("volume", f"{volume['VolumeId']} {volume['Size']} GiB {_claim(volume)}".rstrip())
        for volume in _volumes(environment, aws)
    ]


def snapshots(environment: Environment, aws: Aws) -> list[Leftover]:
    """EC2 snapshots of warmed volumes, by the tag their VolumeSnapshotClass gives them."""
    return [
        Leftover("snapshot", f"{found['SnapshotId']} {found['VolumeSize']} GiB {_warmed(found)}".rstrip())
        for found in _snapshots(environment, aws)
    ]


def delete_volumes(environment: Environment, aws: Aws) -> list[str]:
    """Delete the environment's snapshots and cache volumes; their ids. Only for a teardown that was asked to."""
    ec2 = aws.client("ec2")
    with aws_errors("deleting snapshots and cache volumes"):
        taken = [str(snapshot["SnapshotId"]) for snapshot in _snapshots(environment, aws)]
        made = [str(volume["VolumeId"]) for volume in _volumes(environment, aws)]
        for identity in taken:
            ec2.delete_snapshot(SnapshotId=identity)
        for identity in made:
            ec2.delete_volume(VolumeId=identity)
    return [*taken, *made]


def end_fast_restores(environment: Environment, aws: Aws) -> list[str]:
    """Disable fast restore of the snapshots that are kept, which no cluster clones now. One line each; raises CloudError."""
    with aws_errors("listing snapshots"):
        taken = [str(snapshot["SnapshotId"]) for snapshot in _snapshots(environment, aws)]
    lines = []
    for snapshot, states in sorted(fast_restores(aws, taken).items()):
        zones = sorted(zone for zone, state in states.items() if state != "disabling")
        if zones:
            set_fast_restore(aws, snapshot, (), zones)
            lines.append(f"fast restore of {snapshot} in {', '.join(zones)} is switched off: it was billed")
    return lines


def storage_costs(environment: Environment, aws: Aws, prices: EbsPrices) -> list[str]:
    """The monthly cost of each volume and snapshot, as lines. Raises CloudError."""
    with aws_errors("pricing what is left"):
        made, taken = _volumes(environment, aws), _snapshots(environment, aws)
    of_volumes = [
        (each["VolumeId"], each["Size"], each.get("Iops") or FREE_IOPS, each.get("Throughput") or FREE_MIB_S)
        for each in made
    ]
    return [
        *(f"volume {name}: {prices.told(prices.volume(*figures))}" for name, *figures in of_volumes),
        *(
            f"snapshot {each['SnapshotId']}: at most {prices.told(prices.snapshot(each['VolumeSize']))}"
            for each in taken
        ),
    ]


def _volumes(environment: Environment, aws: Aws) -> list[dict[str, Any]]:
    pages = aws.client("ec2").get_paginator("describe_volumes").paginate(Filters=_ours(environment))
    living = [volume for page in pages for volume in page["Volumes"] if volume["State"] not in GONE]
    return [volume for volume in living if any(tag["Key"] == CLAIMED for tag in volume.get("Tags") or ())]


def _snapshots(environment: Environment, aws: Aws) -> list[dict[str, Any]]:
    paginator = aws.client("ec2").get_paginator("describe_snapshots")
    pages = paginator.paginate(OwnerIds=["self"], Filters=_ours(environment))
    return [snapshot for page in pages for snapshot in page["Snapshots"]]


def _ours(environment: Environment) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{ENVIRONMENT_TAG}", "Values": [environment.name]}]


def _warmed(snapshot: dict[str, Any]) -> str:
    tags = {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags") or ()}
    return f"of {tags.get(REPO_TAG, '')} {tags.get(COMMIT_TAG, '')[:12]}".rstrip()


def _claim(volume: dict[str, Any]) -> str:
    tags = {tag["Key"]: tag["Value"] for tag in volume.get("Tags") or ()}
    name = tags.get("kubernetes.io/created-for/pvc/name", "")
    return f"of claim {tags.get('kubernetes.io/created-for/pvc/namespace', '')}/{name}" if name else ""


def _instances(environment: Environment, aws: Aws) -> Iterable[Leftover]:
    pages = (
        aws.client("ec2")
        .get_paginator("describe_instances")
        .paginate(
            Filters=[{"Name": "tag:eks:cluster-name", "Values": [environment.eks_cluster]}]
            # in a cluster that exists only our own nodes carry the environment's tag
            + (_ours(environment) if environment.existing.cluster else [])
        )
    )
    for page in pages:
        for reservation in page["Reservations"]:
            for instance in reservation["Instances"]:
                if instance["State"]["Name"] not in GONE:
                    yield Leftover("instance", f"{instance['InstanceId']} {instance['InstanceType']}")


def _clusters(environment: Environment, aws: Aws) -> Iterable[Leftover]:
    if environment.existing.cluster:
        return
    if environment.cluster.name in aws.client("eks").list_clusters()["clusters"]:
        yield Leftover("cluster", environment.cluster.name)


def _log_groups(environment: Environment, aws: Aws) -> Iterable[Leftover]:
    """The control plane's log group, which EKS makes anew, without tags, where it writes once more after its end."""
    name = f"/aws/eks/{environment.cluster.name}/cluster"
    groups = aws.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return [Leftover("logs", f"log-group:{name}") for group in groups if group["logGroupName"] == name]


def _tagged(environment: Environment, aws: Aws) -> Iterable[Leftover]:
    """Resources of the tagging API, without those that AWS still lists after their deletion.

    By two tags: ours, and the cluster's, which Kubernetes puts on the load balancers it creates.
    """
    tagging = aws.client("resourcegroupstaggingapi").get_paginator("get_resources")
    of_cluster = [{"Key": f"kubernetes.io/cluster/{environment.eks_cluster}", "Values": ["owned"]}]
    if environment.existing.cluster:
        # its other load balancers are somebody else's
        of_cluster.append(
            {"Key": "kubernetes.io/service-name", "Values": [f"{environment.namespace}/{GATEWAY}"]}
        )
    filters = [[{"Key": ENVIRONMENT_TAG, "Values": [environment.name]}], of_cluster]
    for page in (page for tags in filters for page in tagging.paginate(TagFilters=tags)):
        for resource in page["ResourceTagMappingList"]:
            arn = str(resource["ResourceARN"])
            service, path = arn.split(":")[2], arn.split(":", 5)[5]
            if service == "kms" and _key_is_going(aws, path):
                continue
            if service == "ec2" and path.split("/")[0] in {"instance", "volume", "snapshot"}:
                # listed above, by their states
                continue
            if service == "ec2" and _is_going(aws, *path.split("/")[:2]):
                continue
            if service == "secretsmanager" and _secret_is_going(aws, arn):
                continue
            yield Leftover(service, path)


def _is_going(aws: Aws, kind: str, identity: str) -> bool:
    """Whether a resource is deleted: NAT gateways and endpoints stay listed for an hour."""
    ec2 = aws.client("ec2")
    if kind == "natgateway":
        found = ec2.describe_nat_gateways(NatGatewayIds=[identity])["NatGateways"]
        return all(gateway["State"] in GONE for gateway in found)
    if kind == "vpc-endpoint":
        try:
            found = ec2.describe_vpc_endpoints(VpcEndpointIds=[identity])["VpcEndpoints"]
        except ClientError as error:
            if error_code(error) == "InvalidVpcEndpointId.NotFound":
                return True
            raise
        return all(str(endpoint["State"]).lower() in GONE for endpoint in found)
    return False


def _key_is_going(aws: Aws, path: str) -> bool:
    state = aws.client("kms").describe_key(KeyId=path.removeprefix("key/"))["KeyMetadata"]["KeyState"]
    return state in GONE


def _secret_is_going(aws: Aws, arn: str) -> bool:
    return bool(aws.client("secretsmanager").describe_secret(SecretId=arn).get("DeletedDate"))
