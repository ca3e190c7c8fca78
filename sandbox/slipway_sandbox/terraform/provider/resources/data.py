"""Data sources: who and where we are, and IAM documents."""

from __future__ import annotations

import json
import zlib
from typing import Any

from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    STRING,
    STRING_LIST,
    STRINGS,
    Block,
    State,
    computed,
    data_source,
    optional,
    required,
)
from slipway_sandbox.terraform.provider.session import Session


def _identity(session: Session, _config: State) -> State:
    caller = session.client("sts").get_caller_identity()
    return {
        "id": caller["Account"],
        "account_id": caller["Account"],
        "arn": caller["Arn"],
        "user_id": caller["UserId"],
    }


def _region(session: Session, config: State) -> State:
    name = config.get("region") or session.region
    return {
        "id": name,
        "name": name,
        "region": name,
        "endpoint": f"ec2.{name}.amazonaws.com",
        "description": name,
    }


def _partition(session: Session, _config: State) -> State:
    chinese = session.region.startswith("cn-")
    name = "aws-cn" if chinese else "aws-us-gov" if session.region.startswith("us-gov-") else "aws"
    suffix = "amazonaws.com.cn" if chinese else "amazonaws.com"
    reverse = ".".join(reversed(suffix.split(".")))
    return {"id": name, "partition": name, "dns_suffix": suffix, "reverse_dns_prefix": reverse}


def _zones(session: Session, config: State) -> State:
    filters = [{"Name": f["name"], "Values": list(f["values"])} for f in config.get("filter") or []]
    zones = session.client("ec2").describe_availability_zones(Filters=filters)["AvailabilityZones"]
    excluded = {*(config.get("exclude_names") or []), *(config.get("exclude_zone_ids") or [])}
    wanted = [
        zone
        for zone in sorted(zones, key=lambda zone: str(zone["ZoneName"]))
        if config.get("state") in (None, zone["State"]) and not {zone["ZoneName"], zone["ZoneId"]} & excluded
    ]
    return {
        "id": session.region,
        "names": [zone["ZoneName"] for zone in wanted],
        "zone_ids": [zone["ZoneId"] for zone in wanted],
    }


_LISTS = {
    "actions": "Action",
    "not_actions": "NotAction",
    "resources": "Resource",
    "not_resources": "NotResource",
}


def _few(values: list[str]) -> str | list[str]:
    """hashicorp/aws writes one value as itself and several in descending order."""
    return values[0] if len(values) == 1 else sorted(values, reverse=True)


def _principals(blocks: list[State]) -> Any:
    by_type: dict[str, list[str]] = {}
    for block in blocks:
        by_type.setdefault(block["type"], []).extend(block["identifiers"])
    if by_type == {"*": ["*"]}:
        return "*"
    return {kind: _few(names) for kind, names in by_type.items()}


def _statement(block: State) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": block["sid"]} if block.get("sid") else {}
    statement["Effect"] = block.get("effect") or "Allow"
    statement |= {theirs: _few(list(block[ours])) for ours, theirs in _LISTS.items() if block.get(ours)}
    for ours, theirs in (("principals", "Principal"), ("not_principals", "NotPrincipal")):
        if block.get(ours):
            statement[theirs] = _principals(block[ours])
    for condition in block.get("condition") or []:
        values = list(condition["values"])
        tests = statement.setdefault("Condition", {}).setdefault(condition["test"], {})
        tests[condition["variable"]] = values[0] if len(values) == 1 else values
    return statement


def _policy_document(_session: Session, config: State) -> State:
    document = {"Version": config.get("version") or "2012-10-17"}
    if config.get("policy_id"):
        document["Id"] = config["policy_id"]
    full = document | {"Statement": [_statement(block) for block in config.get("statement") or []]}
    text = json.dumps(full, indent=2)
    return {
        "id": str(zlib.crc32(text.encode())),
        "json": text,
        "minified_json": json.dumps(full, separators=(",", ":")),
    }


def _principals_block() -> Block:
    return Block({"type": required(STRING), "identifiers": required(STRINGS)}, nesting="set")


DATA_SOURCES = {
    "aws_caller_identity": data_source(
        {"account_id": computed(STRING), "arn": computed(STRING), "user_id": computed(STRING)}, _identity
    ),
    "aws_region": data_source(
        {
            "name": optional(STRING, computed=True),
            "region": optional(STRING, computed=True),
            "endpoint": optional(STRING, computed=True),
            "description": computed(STRING),
        },
        _region,
    ),
    "aws_partition": data_source(
        {
            "partition": computed(STRING),
            "dns_suffix": computed(STRING),
            "reverse_dns_prefix": computed(STRING),
        },
        _partition,
    ),
    "aws_availability_zones": data_source(
        {
            "state": optional(STRING),
            "all_availability_zones": optional(BOOL),
            "exclude_names": optional(STRINGS),
            "exclude_zone_ids": optional(STRINGS),
            "names": computed(STRING_LIST),
            "zone_ids": computed(STRING_LIST),
        },
        _zones,
        {"filter": Block({"name": required(STRING), "values": required(STRINGS)}, nesting="set")},
    ),
    "aws_iam_policy_document": data_source(
        {
            "policy_id": optional(STRING),
            "version": optional(STRING),
            "json": computed(STRING),
            "minified_json": computed(STRING),
        },
        _policy_document,
        {
            "statement": Block(
                {"sid": optional(STRING), "effect": optional(STRING)}
                | {name: optional(STRINGS) for name in _LISTS},
                {
                    "principals": _principals_block(),
                    "not_principals": _principals_block(),
                    "condition": Block(
                        {
                            "test": required(STRING),
                            "variable": required(STRING),
                            "values": required(STRING_LIST),
                        },
                        nesting="set",
                    ),
                },
            )
        },
    ),
}
