"""A VPC's default security group, emptied, and its flow logs."""

from __future__ import annotations

from slipway_sandbox.terraform.provider.resources.shapes import (
    compact,
    ec2_deletion,
    one,
    retag_ec2,
    specification,
    tag_list,
    tag_map,
)
from slipway_sandbox.terraform.provider.schema import (
    NUMBER,
    STRING,
    State,
    computed,
    optional,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session

# ------------------------------------------------------------------ default security group


def _take_default_group(session: Session, planned: State) -> State:
    """The group is there with its VPC: hashicorp/aws takes it over and revokes its rules."""
    wanted = [
        {"Name": "group-name", "Values": ["default"]},
        {"Name": "vpc-id", "Values": [planned["vpc_id"]]},
    ]
    [group] = session.client("ec2").describe_security_groups(Filters=wanted)["SecurityGroups"]
    return {"id": group["GroupId"]}


def _empty_default_group(session: Session, state: State) -> None:
    ec2 = session.client("ec2")
    group = ec2.describe_security_groups(GroupIds=[state["id"]])["SecurityGroups"][0]
    if group.get("IpPermissions"):
        ec2.revoke_security_group_ingress(GroupId=state["id"], IpPermissions=group["IpPermissions"])
    if group.get("IpPermissionsEgress"):
        ec2.revoke_security_group_egress(GroupId=state["id"], IpPermissions=group["IpPermissionsEgress"])
    if state["tags_all"]:
        ec2.create_tags(Resources=[state["id"]], Tags=tag_list(state["tags_all"]))


def _read_default_group(session: Session, state: State) -> State | None:
    ec2 = session.client("ec2")
    group = one(lambda: ec2.describe_security_groups(GroupIds=[state["id"]])["SecurityGroups"])
    return group and {
        "id": group["GroupId"],
        "vpc_id": group.get("VpcId"),
        "tags": tag_map(group.get("Tags")),
    }


DEFAULT_SECURITY_GROUP = resource(
    {"vpc_id": optional(STRING, computed=True, forces_new=True)},
    create=_take_default_group,
    settle=_empty_default_group,
    read=_read_default_group,
    retag=retag_ec2,
    # it goes with its VPC: hashicorp/aws forgets it only
    delete=lambda _session, _state: None,
)

# ------------------------------------------------------------------ flow log


def _create_flow_log(session: Session, planned: State) -> State:
    made = session.client("ec2").create_flow_logs(
        ResourceIds=[planned["vpc_id"]],
        ResourceType="VPC",
        TagSpecifications=specification("vpc-flow-log", planned),
        **compact(
            {
                "TrafficType": planned["traffic_type"],
                "LogDestinationType": planned["log_destination_type"],
                "LogDestination": planned["log_destination"],
                "DeliverLogsPermissionArn": planned["iam_role_arn"],
                "MaxAggregationInterval": planned["max_aggregation_interval"],
            }
        ),
    )
    return {"id": made["FlowLogIds"][0]}


def _read_flow_log(session: Session, state: State) -> State | None:
    ec2 = session.client("ec2")
    log = one(lambda: ec2.describe_flow_logs(FlowLogIds=[state["id"]])["FlowLogs"])
    return log and {
        "id": log["FlowLogId"],
        "vpc_id": log["ResourceId"],
        "traffic_type": log["TrafficType"],
        "log_destination_type": log["LogDestinationType"],
        "log_destination": log["LogDestination"],
        "iam_role_arn": log["DeliverLogsPermissionArn"],
        "max_aggregation_interval": log["MaxAggregationInterval"],
        "arn": f"arn:aws:ec2:{session.region}:{log.get('OwnerId', '')}:vpc-flow-log/{log['FlowLogId']}",
        "tags": tag_map(log.get("Tags")),
    }


FLOW_LOG = resource(
    {
        "vpc_id": optional(STRING, forces_new=True),
        "traffic_type": optional(STRING, forces_new=True),
        "log_destination_type": optional(STRING, default="cloud-watch-logs", forces_new=True),
        "log_destination": optional(STRING, computed=True, forces_new=True),
        "iam_role_arn": optional(STRING, forces_new=True),
        "max_aggregation_interval": optional(NUMBER, default=600, forces_new=True),
        "arn": computed(STRING),
    },
    create=_create_flow_log,
    read=_read_flow_log,
    retag=retag_ec2,
    delete=lambda session, state: ec2_deletion("delete_flow_logs", "FlowLogIds")(
        session, {**state, "id": [state["id"]]}
    ),
)

RESOURCES = {
    "aws_default_security_group": DEFAULT_SECURITY_GROUP,
    "aws_flow_log": FLOW_LOG,
}
