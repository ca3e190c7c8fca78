"""Find resources that a killed apply created but did not record, so that terraform imports them.

Terraform writes a remote state at intervals. What it created since is unknown to the next apply, which would fail with
"already exists" or create a second one. Names and Name tags in our roots are fixed, so a planned creation can be looked
up first. Import ids: the "Import" section of each resource's page in the hashicorp/aws documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.infra.ownership import bucket_exists, check_adoptable
from tasks.infra.plan import Change
from tasks.records.errors import CloudError
from tasks.records.names import ENVIRONMENT_TAG

Planned = Mapping[str, Any]
Finder = Callable[[Aws, Planned], str | None]

_ABSENT = {
    "NoSuchEntity",
    "NoSuchEntityException",
    "ResourceNotFoundException",
    "NotFoundException",
    "404",
    "NoSuchBucket",
    "InvalidLaunchTemplateName.NotFoundException",
}


def imports(changes: Iterable[Change], aws: Aws) -> dict[str, str]:
    """Import ids, by address, of planned creations that exist in AWS. Raises CloudError for one that did not get ready."""
    found = {}
    for change in changes:
        if change.action != "create":
            continue
        try:
            identity = _find(change, aws)
        except WaiterError as error:
            raise CloudError(
                f"{change.address} exists in AWS, which no state knows of, and did not get ready",
                evidence=[str(error)],
                next_command="delete it in AWS, then run the same command again",
            ) from error
        if identity:
            found[change.address] = identity
    return found


def is_whole(change: Change, aws: Aws) -> bool:
    """Whether a resource that terraform marked for replacement is ready in AWS.

    One whose creation was stopped is; one whose creation failed (CREATE_FAILED for want of capacity) is not.
    """
    try:
        return _find(change, aws) is not None
    except WaiterError:
        return False


def _find(change: Change, aws: Aws) -> str | None:
    finder = FINDERS.get(change.type)
    if finder is None:
        return None
    with aws_errors(f"looking whether {change.address} exists already"):
        try:
            identity = finder(aws, change.planned)
            if identity:
                check_adoptable(change.type, aws, change.planned, identity)
        except KeyError:
            # a name known only once something before it is adopted: the next round asks
            return None
        except ClientError as error:
            if error_code(error) not in _ABSENT:
                raise
            return None
    return identity


def import_blocks(found: Mapping[str, str]) -> str:
    """HCL import blocks for the work directory."""
    blocks = []
    for address, identity in sorted(found.items()):
        quoted = identity.replace("\\", "\\\\").replace('"', '\\"').replace("${", "$${").replace("%{", "%%{")
        blocks.append(f'import {{\n  to = {address}\n  id = "{quoted}"\n}}\n')
    return "\n".join(blocks)


def _named(planned: Planned) -> list[dict[str, Any]]:
    tags = planned.get("tags_all") or planned.get("tags") or {}
    if not tags.get("Name"):
        # without a name the filters would match somebody else's resource
        raise KeyError("Name")
    return [
        {"Name": f"tag:{key}", "Values": [tags[key]]} for key in ("Name", ENVIRONMENT_TAG) if tags.get(key)
    ]


def _by_name_tag(operation: str, collection: str, identity: str, states: tuple[str, ...] = ()) -> Finder:
    def find(aws: Aws, planned: Planned) -> str | None:
        answer = getattr(aws.client("ec2"), operation)(Filters=_named(planned))
        living = [
            item for item in answer[collection] if not states or str(item.get("State", "")).lower() in states
        ]
        return str(living[0][identity]) if living else None

    return find


def _bucket(aws: Aws, planned: Planned) -> str | None:
    bucket = str(planned["bucket"])
    return bucket if bucket_exists(aws.client("s3"), bucket, "storage.model_bucket") else None


def _kms_key(aws: Aws, planned: Planned) -> str | None:
    kms = aws.client("kms")
    for page in kms.get_paginator("list_keys").paginate():
        for key in page["Keys"]:
            try:
                about = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
            except ClientError as error:
                if error_code(error) == "AccessDeniedException":
                    # somebody else's key: its policy does not let us look
                    continue
                raise
            if about.get("Description") == planned["description"] and about["KeyState"] == "Enabled":
                return str(key["KeyId"])
    return None


def _kms_alias(aws: Aws, planned: Planned) -> str | None:
    for page in aws.client("kms").get_paginator("list_aliases").paginate():
        if any(alias["AliasName"] == planned["name"] for alias in page["Aliases"]):
            return str(planned["name"])
    return None


def _secret(aws: Aws, planned: Planned) -> str | None:
    secrets = aws.client("secretsmanager")
    found = secrets.describe_secret(SecretId=planned["name"])
    # its name is taken until the recovery window ends: restore it instead
    if found.get("DeletedDate"):
        check_adoptable("aws_secretsmanager_secret", aws, planned, str(found["ARN"]))
        secrets.restore_secret(SecretId=found["ARN"])
    return str(found["ARN"])


def _log_group(aws: Aws, planned: Planned) -> str | None:
    groups = aws.client("logs").describe_log_groups(logGroupNamePrefix=planned["name"])["logGroups"]
    return str(planned["name"]) if any(g["logGroupName"] == planned["name"] for g in groups) else None


def _role(aws: Aws, planned: Planned) -> str | None:
    aws.client("iam").get_role(RoleName=planned["name"])
    return str(planned["name"])


def _attachment(aws: Aws, planned: Planned) -> str | None:
    role, policy = planned["role"], planned["policy_arn"]
    attached = aws.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    return f"{role}/{policy}" if any(entry["PolicyArn"] == policy for entry in attached) else None


def _role_policy(aws: Aws, planned: Planned) -> str | None:
    aws.client("iam").get_role_policy(RoleName=planned["role"], PolicyName=planned["name"])
    return f"{planned['role']}:{planned['name']}"


def _route(aws: Aws, planned: Planned) -> str | None:
    table, block = planned["route_table_id"], planned["destination_cidr_block"]
    tables = aws.client("ec2").describe_route_tables(RouteTableIds=[table])["RouteTables"]
    routes = [route for entry in tables for route in entry["Routes"]]
    return f"{table}_{block}" if any(r.get("DestinationCidrBlock") == block for r in routes) else None


def _association(aws: Aws, planned: Planned) -> str | None:
    subnet, table = planned["subnet_id"], planned["route_table_id"]
    tables = aws.client("ec2").describe_route_tables(RouteTableIds=[table])["RouteTables"]
    linked = [link for entry in tables for link in entry["Associations"]]
    return f"{subnet}/{table}" if any(link.get("SubnetId") == subnet for link in linked) else None


def _eip(aws: Aws, planned: Planned) -> str | None:
    addresses = aws.client("ec2").describe_addresses(Filters=_named(planned))["Addresses"]
    return str(addresses[0]["AllocationId"]) if addresses else None


def _nat(aws: Aws, planned: Planned) -> str | None:
    ec2 = aws.client("ec2")
    found = ec2.describe_nat_gateways(Filters=_named(planned))["NatGateways"]
    living = [gateway for gateway in found if gateway["State"] in ("pending", "available")]
    if not living:
        return None
    identity = str(living[0]["NatGatewayId"])
    ec2.get_waiter("nat_gateway_available").wait(
        NatGatewayIds=[identity], WaiterConfig={"Delay": 2, "MaxAttempts": 300}
    )
    return identity


def _security_group(aws: Aws, planned: Planned) -> str | None:
    groups = aws.client("ec2").describe_security_groups(
        Filters=[
            {"Name": "group-name", "Values": [planned["name"]]},
            {"Name": "vpc-id", "Values": [planned["vpc_id"]]},
        ]
    )["SecurityGroups"]
    return str(groups[0]["GroupId"]) if groups else None


def _flow_log(aws: Aws, planned: Planned) -> str | None:
    found = aws.client("ec2").describe_flow_logs(Filter=_named(planned))["FlowLogs"]
    return str(found[0]["FlowLogId"]) if found else None


def _launch_template(aws: Aws, planned: Planned) -> str | None:
    found = aws.client("ec2").describe_launch_templates(LaunchTemplateNames=[planned["name"]])
    templates = found["LaunchTemplates"]
    return str(templates[0]["LaunchTemplateId"]) if templates else None


def _cluster(aws: Aws, planned: Planned) -> str | None:
    eks, name = aws.client("eks"), str(planned["name"])
    if eks.describe_cluster(name=name)["cluster"]["status"] == "DELETING":
        return None
    # terraform does not wait for what it imports, and later resources need an active cluster
    eks.get_waiter("cluster_active").wait(name=name, WaiterConfig={"Delay": 2, "MaxAttempts": 900})
    return name


def _node_group(aws: Aws, planned: Planned) -> str | None:
    eks = aws.client("eks")
    names = {"clusterName": str(planned["cluster_name"]), "nodegroupName": str(planned["node_group_name"])}
    if eks.describe_nodegroup(**names)["nodegroup"]["status"] == "DELETING":
        return None
    eks.get_waiter("nodegroup_active").wait(**names, WaiterConfig={"Delay": 2, "MaxAttempts": 900})
    return f"{names['clusterName']}:{names['nodegroupName']}"


def _addon(aws: Aws, planned: Planned) -> str | None:
    cluster, addon = planned["cluster_name"], planned["addon_name"]
    aws.client("eks").describe_addon(clusterName=cluster, addonName=addon)
    return f"{cluster}:{addon}"


def _access_entry(aws: Aws, planned: Planned) -> str | None:
    cluster, principal = planned["cluster_name"], planned["principal_arn"]
    aws.client("eks").describe_access_entry(clusterName=cluster, principalArn=principal)
    return f"{cluster}:{principal}"


def _access_policy(aws: Aws, planned: Planned) -> str | None:
    cluster, principal, policy = (planned[k] for k in ("cluster_name", "principal_arn", "policy_arn"))
    linked = aws.client("eks").list_associated_access_policies(clusterName=cluster, principalArn=principal)
    known = [entry["policyArn"] for entry in linked["associatedAccessPolicies"]]
    return f"{cluster}#{principal}#{policy}" if policy in known else None


def _pod_identity(aws: Aws, planned: Planned) -> str | None:
    cluster = planned["cluster_name"]
    found = aws.client("eks").list_pod_identity_associations(
        clusterName=cluster, namespace=planned["namespace"], serviceAccount=planned["service_account"]
    )["associations"]
    return f"{cluster},{found[0]['associationId']}" if found else None


# Resources that may be created twice without harm (bucket settings, security group rules) need no finder.
# An SQS queue, an EventBridge rule and its target need none: making the same once more is no error.
FINDERS: dict[str, Finder] = {
    "aws_cloudwatch_log_group": _log_group,
    "aws_eip": _eip,
    "aws_eks_access_entry": _access_entry,
    "aws_eks_access_policy_association": _access_policy,
    "aws_eks_addon": _addon,
    "aws_eks_cluster": _cluster,
    "aws_eks_node_group": _node_group,
    "aws_eks_pod_identity_association": _pod_identity,
    "aws_flow_log": _flow_log,
    "aws_iam_role": _role,
    "aws_iam_role_policy": _role_policy,
    "aws_iam_role_policy_attachment": _attachment,
    "aws_internet_gateway": _by_name_tag(
        "describe_internet_gateways", "InternetGateways", "InternetGatewayId"
    ),
    "aws_kms_alias": _kms_alias,
    "aws_kms_key": _kms_key,
    "aws_launch_template": _launch_template,
    "aws_nat_gateway": _nat,
    "aws_route": _route,
    "aws_route_table": _by_name_tag("describe_route_tables", "RouteTables", "RouteTableId"),
    "aws_route_table_association": _association,
    "aws_s3_bucket": _bucket,
    "aws_secretsmanager_secret": _secret,
    "aws_security_group": _security_group,
    "aws_subnet": _by_name_tag("describe_subnets", "Subnets", "SubnetId"),
    "aws_vpc": _by_name_tag("describe_vpcs", "Vpcs", "VpcId"),
    "aws_vpc_endpoint": _by_name_tag(
        "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", ("available", "pending")
    ),
}
