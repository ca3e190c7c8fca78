"""What EC2 instances are made from."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.resources.shapes import (
    compact,
    ec2_deletion,
    first,
    one,
    retag_ec2,
    specification,
    tag_list,
    tag_map,
)
from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRING_MAP,
    Attribute,
    Block,
    State,
    only,
    optional,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session

# Changes of these make no new version (CustomizeDiff of the type's own file).
_NAMING = frozenset({"name", "name_prefix", "description"})
_DEFAULTS = frozenset({"default_version", "update_default_version"})
_METADATA = {
    "http_endpoint": "HttpEndpoint",
    "http_tokens": "HttpTokens",
    "http_put_response_hop_limit": "HttpPutResponseHopLimit",
}
_EBS = {
    "volume_type": "VolumeType",
    "volume_size": "VolumeSize",
    "iops": "Iops",
    "throughput": "Throughput",
}
_EBS_SWITCHES = {
    "encrypted": "Encrypted",
    "delete_on_termination": "DeleteOnTermination",
}  # "true" or "false"


def _template_data(planned: State) -> dict[str, Any]:
    metadata = first(planned["metadata_options"])
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
            "BlockDeviceMappings": mappings,
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
        "name": template["LaunchTemplateName"],
        "description": version.get("VersionDescription"),
        "default_version": template["DefaultVersionNumber"],
        "latest_version": latest,
        "tags": tag_map(template.get("Tags")),
    }


def _shown_template(data: dict[str, Any]) -> State:
    metadata = data.get("MetadataOptions")
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
        "block_device_mappings": mappings,
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


LAUNCH_TEMPLATE = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "description": optional(STRING),
        "user_data": optional(STRING),
        "update_default_version": optional(BOOL),
        "default_version": Attribute(NUMBER, optional=True, computed=True, varies=True, unmoved_by=_NAMING),
        "latest_version": Attribute(NUMBER, computed=True, varies=True, unmoved_by=_NAMING | _DEFAULTS),
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
                    }
                )
            },
        ),
        "metadata_options": only(
            {
                "http_endpoint": optional(STRING, computed=True),
                "http_tokens": optional(STRING, computed=True),
                "http_put_response_hop_limit": optional(NUMBER, computed=True),
            }
        ),
        "tag_specifications": Block({"resource_type": optional(STRING), "tags": optional(STRING_MAP)}),
    },
    create=_create_template,
    read=_read_template,
    update=_update_template,
    retag=retag_ec2,
    delete=ec2_deletion("delete_launch_template", "LaunchTemplateId"),
)

RESOURCES = {
    "aws_launch_template": LAUNCH_TEMPLATE,
}
