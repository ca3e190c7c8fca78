"""What instances are made from and talk through: security groups, VPC endpoints, launch templates."""

from __future__ import annotations

from typing import Any

from sandbox.terraform.provider.resources.network import one
from sandbox.terraform.provider.resources.shapes import (
    compact,
    first,
    retag_ec2,
    specification,
    tag_list,
    tag_map,
)
from sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRING_MAP,
    STRINGS,
    Attribute,
    Block,
    State,
    computed,
    only,
    optional,
    required,
    resource,
)
from sandbox.terraform.provider.session import Session, timeout, unless_gone

# ------------------------------------------------------------------ security group


def _create_group(session: Session, planned: State) -> State:
    made = session.client("ec2").create_security_group(
        **compact(
            {
                "GroupName": planned["name"],
                "Description": planned["description"],
                "VpcId": planned["vpc_id"],
                "TagSpecifications": specification("security-group", planned),
            }
        )
    )
    return {"id": made["GroupId"]}


def _settle_group(session: Session, state: State) -> None:
    """AWS opens every new group to the outside; hashicorp/aws takes that rule away, so this does."""
    ec2 = session.client("ec2")
    group = ec2.describe_security_groups(GroupIds=[state["id"]])["SecurityGroups"][0]
    if group.get("IpPermissionsEgress"):
        ec2.revoke_security_group_egress(GroupId=state["id"], IpPermissions=group["IpPermissionsEgress"])


def _read_group(session: Session, state: State) -> State | None:
    ec2 = session.client("ec2")
    group = one(lambda: ec2.describe_security_groups(GroupIds=[state["id"]])["SecurityGroups"])
    if group is None:
        return None
    return {
        "id": group["GroupId"],
        "arn": session.arn("ec2", f"security-group/{group['GroupId']}"),
        "name": group["GroupName"],
        "description": group["Description"],
        "vpc_id": group.get("VpcId"),
        "owner_id": group["OwnerId"],
        "tags": tag_map(group.get("Tags")),
    }


SECURITY_GROUP = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "description": optional(STRING, default="Managed by Terraform", forces_new=True),
        "vpc_id": optional(STRING, computed=True, forces_new=True),
        "revoke_rules_on_delete": optional(BOOL, default=False),
        "arn": computed(STRING),
        "owner_id": computed(STRING),
    },
    tags=True,
    create=_create_group,
    settle=_settle_group,
    read=_read_group,
    update=retag_ec2,
    delete=lambda session, state: unless_gone(
        lambda: session.client("ec2").delete_security_group(GroupId=state["id"])
    ),
)


def _create_ingress(session: Session, planned: State) -> State:
    peer = (
        {"IpRanges": [compact({"CidrIp": planned["cidr_ipv4"], "Description": planned["description"]})]}
        if planned["cidr_ipv4"]
        else {"UserIdGroupPairs": [{"GroupId": planned["referenced_security_group_id"]}]}
    )
    ports = compact({"FromPort": planned["from_port"], "ToPort": planned["to_port"]})
    made = session.client("ec2").authorize_security_group_ingress(
        GroupId=planned["security_group_id"],
        IpPermissions=[{"IpProtocol": planned["ip_protocol"]} | ports | peer],
        TagSpecifications=specification("security-group-rule", planned),
    )
    identity = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    return {"id": identity, "security_group_rule_id": identity}


def _read_ingress(session: Session, state: State) -> State | None:
    ec2, identity = session.client("ec2"), state["id"]
    rule = one(
        lambda: ec2.describe_security_group_rules(SecurityGroupRuleIds=[identity])["SecurityGroupRules"]
    )
    if rule is None:
        return None
    return {
        "id": identity,
        "security_group_rule_id": identity,
        "arn": session.arn("ec2", f"security-group-rule/{identity}"),
        "security_group_id": rule["GroupId"],
        "ip_protocol": rule["IpProtocol"],
        "from_port": rule.get("FromPort"),
        "to_port": rule.get("ToPort"),
        "cidr_ipv4": rule.get("CidrIpv4"),
        "referenced_security_group_id": rule.get("ReferencedGroupInfo", {}).get("GroupId"),
        "description": rule.get("Description"),
        "tags": tag_map(rule.get("Tags")),
    }


def _delete_ingress(session: Session, state: State) -> None:
    ec2 = session.client("ec2")
    unless_gone(
        lambda: ec2.revoke_security_group_ingress(
            GroupId=state["security_group_id"], SecurityGroupRuleIds=[state["id"]]
        )
    )


INGRESS_RULE = resource(
    {
        "security_group_id": required(STRING, forces_new=True),
        "ip_protocol": required(STRING, forces_new=True),
        "from_port": optional(NUMBER, forces_new=True),
        "to_port": optional(NUMBER, forces_new=True),
        "cidr_ipv4": optional(STRING, forces_new=True),
        "referenced_security_group_id": optional(STRING, forces_new=True),
        "description": optional(STRING, forces_new=True),
        "arn": computed(STRING),
        "security_group_rule_id": computed(STRING),
    },
    tags=True,
    create=_create_ingress,
    read=_read_ingress,
    update=retag_ec2,
    delete=_delete_ingress,
)

# ------------------------------------------------------------------ VPC endpoint

_ENDPOINT_LISTS = {
    "route_table_ids": "RouteTableIds",
    "subnet_ids": "SubnetIds",
    "security_group_ids": "SecurityGroupIds",
}


def _create_endpoint(session: Session, planned: State) -> State:
    made = session.client("ec2").create_vpc_endpoint(
        **compact(
            {
                "VpcId": planned["vpc_id"],
                "ServiceName": planned["service_name"],
                "VpcEndpointType": planned["vpc_endpoint_type"],
                "PolicyDocument": planned["policy"],
                "PrivateDnsEnabled": planned["private_dns_enabled"],
                "TagSpecifications": specification("vpc-endpoint", planned),
            }
            | {theirs: planned[ours] for ours, theirs in _ENDPOINT_LISTS.items()}
        )
    )
    return {"id": made["VpcEndpoint"]["VpcEndpointId"]}


def _endpoint(session: Session, identity: str) -> dict[str, Any] | None:
    ec2 = session.client("ec2")
    found = one(lambda: ec2.describe_vpc_endpoints(VpcEndpointIds=[identity])["VpcEndpoints"])
    return None if found is None or found["State"].lower() == "deleted" else found


def _wait_for_endpoint(session: Session, identity: str, wanted: str | None, within: float) -> None:
    def state() -> str | None:
        endpoint = _endpoint(session, identity)
        return None if endpoint is None else str(endpoint["State"]).lower()

    session.wait(f"EC2 VPC Endpoint ({identity})", state, [wanted], within)


def _read_endpoint(session: Session, state: State) -> State | None:
    shown = _endpoint(session, state["id"])
    if shown is None:
        return None
    groups = [group["GroupId"] for group in shown.get("Groups", [])]
    lists = {ours: shown.get(theirs) or [] for ours, theirs in _ENDPOINT_LISTS.items()}
    if groups:
        lists["security_group_ids"] = groups
    return lists | {
        "id": state["id"],
        "arn": session.arn("ec2", f"vpc-endpoint/{state['id']}"),
        "vpc_id": shown["VpcId"],
        "service_name": shown["ServiceName"],
        "vpc_endpoint_type": shown["VpcEndpointType"],
        "private_dns_enabled": shown.get("PrivateDnsEnabled", False),
        "policy": shown.get("PolicyDocument"),
        "state": shown["State"].lower(),
        "tags": tag_map(shown.get("Tags")),
    }


def _update_endpoint(session: Session, prior: State, planned: State) -> None:
    changes: dict[str, Any] = {}
    for ours, theirs in _ENDPOINT_LISTS.items():
        before, after = set(prior[ours] or []), set(planned[ours] or [])
        changes[f"Add{theirs}"] = sorted(after - before)
        changes[f"Remove{theirs}"] = sorted(before - after)
    if prior["policy"] != planned["policy"]:
        changes["PolicyDocument"] = planned["policy"]
    if prior["private_dns_enabled"] != planned["private_dns_enabled"]:
        changes["PrivateDnsEnabled"] = planned["private_dns_enabled"]
    if wanted := compact(changes):
        session.client("ec2").modify_vpc_endpoint(VpcEndpointId=planned["id"], **wanted)
    retag_ec2(session, prior, planned)


def _delete_endpoint(session: Session, state: State) -> None:
    unless_gone(lambda: session.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[state["id"]]))
    _wait_for_endpoint(session, state["id"], None, timeout(state, "delete", "10m"))


VPC_ENDPOINT = resource(
    {
        "vpc_id": required(STRING, forces_new=True),
        "service_name": optional(STRING, computed=True, forces_new=True),
        "vpc_endpoint_type": optional(STRING, default="Gateway", forces_new=True),
        "route_table_ids": optional(STRINGS, computed=True),
        "subnet_ids": optional(STRINGS, computed=True),
        "security_group_ids": optional(STRINGS, computed=True),
        "private_dns_enabled": optional(BOOL, computed=True),
        "policy": optional(STRING, computed=True, document=True),
        "arn": computed(STRING),
        "state": computed(STRING),
    },
    tags=True,
    timeouts=True,
    create=_create_endpoint,
    settle=lambda session, state: _wait_for_endpoint(
        session, state["id"], "available", timeout(state, "create", "10m")
    ),
    read=_read_endpoint,
    update=_update_endpoint,
    delete=_delete_endpoint,
)

# ------------------------------------------------------------------ launch template

_METADATA = {
    "http_endpoint": "HttpEndpoint",
    "http_tokens": "HttpTokens",
    "http_put_response_hop_limit": "HttpPutResponseHopLimit",
    "instance_metadata_tags": "InstanceMetadataTags",
}
_EBS = {
    "volume_type": "VolumeType",
    "volume_size": "VolumeSize",
    "iops": "Iops",
    "throughput": "Throughput",
    "kms_key_id": "KmsKeyId",
}
_EBS_SWITCHES = {
    "encrypted": "Encrypted",
    "delete_on_termination": "DeleteOnTermination",
}  # "true" or "false"


def _template_data(planned: State) -> dict[str, Any]:
    metadata, monitoring = first(planned["metadata_options"]), first(planned["monitoring"])
    mappings = []
    for mapping in planned["block_device_mappings"] or []:
        ebs = first(mapping["ebs"]) or {}
        volume = {theirs: ebs.get(ours) for ours, theirs in _EBS.items()} | {
            theirs: None if ebs.get(ours) in (None, "") else ebs[ours] == "true"
            for ours, theirs in _EBS_SWITCHES.items()
        }
        mappings.append(compact({"DeviceName": mapping["device_name"], "Ebs": compact(volume)}))
    return compact(
        {
            "MetadataOptions": metadata
            and compact({theirs: metadata[ours] for ours, theirs in _METADATA.items()}),
            "Monitoring": monitoring and {"Enabled": bool(monitoring["enabled"])},
            "BlockDeviceMappings": mappings,
            "SecurityGroupIds": planned["vpc_security_group_ids"],
            "UserData": planned["user_data"],
            "TagSpecifications": [
                {"ResourceType": block["resource_type"], "Tags": tag_list(block["tags"])}
                for block in planned["tag_specifications"] or []
            ],
        }
    )


def _create_template(session: Session, planned: State) -> State:
    made = session.client("ec2").create_launch_template(
        LaunchTemplateName=planned["name"],
        LaunchTemplateData=_template_data(planned),
        TagSpecifications=specification("launch-template", planned),
        **compact({"VersionDescription": planned["description"]}),
    )
    return {"id": made["LaunchTemplate"]["LaunchTemplateId"]}


def _read_template(session: Session, state: State) -> State | None:
    ec2, identity = session.client("ec2"), state["id"]
    template = one(lambda: ec2.describe_launch_templates(LaunchTemplateIds=[identity])["LaunchTemplates"])
    if template is None:
        return None
    latest = template["LatestVersionNumber"]
    version = ec2.describe_launch_template_versions(LaunchTemplateId=identity, Versions=[str(latest)])[
        "LaunchTemplateVersions"
    ][0]
    return _shown_template(version["LaunchTemplateData"]) | {
        "id": identity,
        "arn": session.arn("ec2", f"launch-template/{identity}"),
        "name": template["LaunchTemplateName"],
        "description": version.get("VersionDescription"),
        "default_version": template["DefaultVersionNumber"],
        "latest_version": latest,
        "tags": tag_map(template.get("Tags")),
    }


def _shown_template(data: dict[str, Any]) -> State:
    metadata, monitoring = data.get("MetadataOptions"), data.get("Monitoring")
    mappings = []
    for mapping in data.get("BlockDeviceMappings", []):
        ebs = mapping.get("Ebs", {})
        volume = {ours: ebs.get(theirs) for ours, theirs in _EBS.items()} | {
            ours: "" if ebs.get(theirs) is None else str(_truth(ebs[theirs])).lower()
            for ours, theirs in _EBS_SWITCHES.items()
        }
        mappings.append({"device_name": mapping["DeviceName"], "ebs": [volume] if ebs else []})
    return {
        "metadata_options": [{ours: metadata.get(theirs) for ours, theirs in _METADATA.items()}]
        if metadata
        else [],
        "monitoring": [{"enabled": _truth(monitoring["Enabled"])}] if monitoring else [],
        "block_device_mappings": mappings,
        "vpc_security_group_ids": data.get("SecurityGroupIds") or [],
        "user_data": data.get("UserData"),
        "tag_specifications": [
            {"resource_type": block["ResourceType"], "tags": tag_map(block.get("Tags"))}
            for block in data.get("TagSpecifications", [])
            if block["ResourceType"] != "launch-template"  # the template's own tags: moto files them here too
        ],
    }


def _truth(value: object) -> bool:
    return value is True or str(value).lower() == "true"


def _update_template(session: Session, prior: State, planned: State) -> None:
    ec2 = session.client("ec2")
    if _template_data(prior) != _template_data(planned) or prior["description"] != planned["description"]:
        made = ec2.create_launch_template_version(
            LaunchTemplateId=planned["id"],
            LaunchTemplateData=_template_data(planned),
            **compact({"VersionDescription": planned["description"]}),
        )
        if planned["update_default_version"]:
            number = made["LaunchTemplateVersion"]["VersionNumber"]
            ec2.modify_launch_template(LaunchTemplateId=planned["id"], DefaultVersion=str(number))
    retag_ec2(session, prior, planned)


LAUNCH_TEMPLATE = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "description": optional(STRING),
        "update_default_version": optional(BOOL),
        "user_data": optional(STRING),
        "vpc_security_group_ids": optional(STRINGS),
        "default_version": Attribute(NUMBER, optional=True, computed=True, varies=True),
        "latest_version": computed(NUMBER, varies=True),
        "arn": computed(STRING),
    },
    blocks={
        "block_device_mappings": Block(
            {"device_name": optional(STRING)},
            {
                "ebs": only(
                    {
                        "volume_type": optional(STRING, computed=True),
                        "volume_size": optional(NUMBER, computed=True),
                        "iops": optional(NUMBER, computed=True),
                        "throughput": optional(NUMBER, computed=True),
                        "encrypted": optional(STRING),
                        "delete_on_termination": optional(STRING),
                        "kms_key_id": optional(STRING),
                    }
                )
            },
        ),
        "metadata_options": only(
            {
                "http_endpoint": optional(STRING, computed=True),
                "http_tokens": optional(STRING, computed=True),
                "http_put_response_hop_limit": optional(NUMBER, computed=True),
                "instance_metadata_tags": optional(STRING, computed=True),
            }
        ),
        "monitoring": only({"enabled": optional(BOOL)}),
        "tag_specifications": Block({"resource_type": optional(STRING), "tags": optional(STRING_MAP)}),
    },
    tags=True,
    create=_create_template,
    read=_read_template,
    update=_update_template,
    delete=lambda session, state: unless_gone(
        lambda: session.client("ec2").delete_launch_template(LaunchTemplateId=state["id"])
    ),
)

RESOURCES = {
    "aws_security_group": SECURITY_GROUP,
    "aws_vpc_security_group_ingress_rule": INGRESS_RULE,
    "aws_vpc_endpoint": VPC_ENDPOINT,
    "aws_launch_template": LAUNCH_TEMPLATE,
}
