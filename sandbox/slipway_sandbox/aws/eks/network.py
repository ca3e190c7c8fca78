"""What an EKS cluster has in EC2 and IAM: its subnets, its security group, its roles, checked against moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.core.exceptions import ServiceException
from moto.ec2.models import ec2_backends
from werkzeug.exceptions import HTTPException

from slipway_sandbox.aws import identity
from slipway_sandbox.aws.eks.state import invalid
from slipway_sandbox.aws.wire import AwsError, Document
from slipway_sandbox.settings import ACCOUNT_ID

MOTO_ERRORS = (HTTPException, ServiceException)
# docs.aws.amazon.com/eks/latest/userguide/network-reqs.html (network-reqs.adoc of 2026-08)
WITHOUT_CONTROL_PLANES = ("use1-az3", "usw1-az2", "cac1-az3")


def ec2(region: str) -> Any:
    return ec2_backends[ACCOUNT_ID][region]


def vpc_of(region: str, subnet_ids: list[str], *, zones: int = 1) -> str:
    """The VPC of subnets that exist and span at least `zones` zones. Raises InvalidParameterException."""
    subnets = []
    for subnet_id in subnet_ids:
        try:
            subnets.append(ec2(region).get_subnet(subnet_id))
        except MOTO_ERRORS:
            raise invalid(f"The subnet ID '{subnet_id}' does not exist") from None
    if len({subnet.vpc_id for subnet in subnets}) != 1:
        raise invalid("Subnets specified must be in the same VPC")
    if len({subnet.availability_zone for subnet in subnets}) < zones:
        raise invalid("Subnets specified must be in at least two different AZs")
    if zones > 1:
        _check_zones(region, subnets)
    return str(subnets[0].vpc_id)


def _check_zones(region: str, subnets: list[Any]) -> None:
    """Raises UnsupportedAvailabilityZoneException for a zone that has no control planes."""
    refused = [s.availability_zone for s in subnets if s.availability_zone_id in WITHOUT_CONTROL_PLANES]
    if refused:
        zones = ec2(region).describe_availability_zones()
        valid = [zone.name for zone in zones if zone.zone_id not in WITHOUT_CONTROL_PLANES]
        raise AwsError(
            "UnsupportedAvailabilityZoneException",
            f"Cannot create cluster because {refused[0]}, the targeted availability zone, does not currently have "
            "sufficient capacity to support the cluster. Retry and choose from these availability zones: "
            + ", ".join(valid),
            400,
            validZones=valid,
        )


def zones_of(region: str, subnet_ids: list[str]) -> list[str]:
    return sorted({str(ec2(region).get_subnet(s).availability_zone) for s in subnet_ids})


def has_joined(region: str, cluster: str) -> bool:
    """Whether instances run that were launched for the cluster by others than its node groups."""
    return any(
        tags.get(f"kubernetes.io/cluster/{cluster}") == "owned" and "eks:nodegroup-name" not in tags
        for tags in _tags_of_living(region)
    )


def holds_instances(region: str, cluster: str, group: str) -> bool:
    """Whether instances of the cluster's node group have not been terminated yet."""
    wanted = {"eks:cluster-name": cluster, "eks:nodegroup-name": group}.items()
    return any(wanted <= tags.items() for tags in _tags_of_living(region))


def _tags_of_living(region: str) -> Iterator[dict[str, str]]:
    for reservation in list(ec2(region).reservations.values()):
        for instance in reservation.instances:
            if instance._state.name in ("pending", "running"):
                yield {tag["key"]: tag["value"] for tag in instance.get_tags()}


def create_cluster_security_group(region: str, cluster: str, vpc_id: str, suffix: str) -> str:
    """The group EKS makes for control plane and managed nodes: members reach each other, everything goes out."""
    group = ec2(region).create_security_group(
        f"eks-cluster-sg-{cluster}-{suffix}",
        "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, "
        "as well as any managed workloads.",
        vpc_id,
        tags={
            "Name": f"eks-cluster-sg-{cluster}-{suffix}",
            f"kubernetes.io/cluster/{cluster}": "owned",
            "aws:eks:cluster-name": cluster,
        },
    )
    ec2(region).authorize_security_group_ingress(
        group.id, "-1", None, None, [], source_groups=[{"GroupId": group.id}], vpc_id=vpc_id
    )
    return str(group.id)


def create_interfaces(region: str, cluster: str, vpc_config: Document) -> list[str]:
    """The network interfaces EKS puts into the cluster's subnets, one each: while they are there, a subnet stays."""
    backend = ec2(region)
    made = [
        backend.create_network_interface(
            backend.get_subnet(subnet_id),
            None,
            group_ids=[vpc_config["clusterSecurityGroupId"]],
            description=f"Amazon EKS {cluster}",
        )
        for subnet_id in vpc_config["subnetIds"]
    ]
    return [str(interface.id) for interface in made]


def delete_interfaces(region: str, ids: list[str]) -> None:
    for interface in ids:
        ec2(region).enis.pop(interface, None)


def delete_security_group(region: str, group_id: str) -> None:
    ec2(region).delete_security_group(group_id=group_id)


def require_role(arn: str | None, otherwise: str = "") -> None:
    """Raises InvalidParameterException for a role IAM does not have, as EKS finds when it assumes it."""
    if not arn or not identity.principal_exists(arn):
        raise invalid(
            otherwise
            or f"Role with arn: {arn}, could not be assumed because it does not exist or the trusted entity is not correct"
        )


def launch_template(region: str, wanted: Document) -> Document:
    """id, name and version of a template that exists. Raises InvalidParameterException."""
    by: dict[str, list[str]] = (
        {"template_ids": [wanted["id"]]} if wanted.get("id") else {"template_names": [wanted.get("name", "")]}
    )
    try:
        template = ec2(region).describe_launch_templates(**by)[0]
    except (*MOTO_ERRORS, IndexError):
        raise invalid(f"Launch template {wanted.get('id') or wanted.get('name')} does not exist") from None
    version = str(wanted.get("version") or template.default_version_number)
    if version in ("$Default", "$Latest"):
        number = template.default_version_number if version == "$Default" else template.latest_version_number
        version = str(number)
    if not version.isdigit() or not 1 <= int(version) <= template.latest_version_number:
        raise invalid(f"Launch template {template.id} has no version {version}")
    return {"id": template.id, "name": template.name, "version": version}


def template_data(region: str, template: Document) -> Document:
    """The launch template version's own fields (InstanceType, BlockDeviceMappings, …)."""
    found = ec2(region).describe_launch_templates(template_ids=[template["id"]])[0]
    data: Document = found.get_version(int(template["version"])).data
    return data
