"""Data sources: who and where we are, and IAM documents."""

from __future__ import annotations

import json
import zlib
from typing import Any

from slipway_sandbox.terraform.provider.schema import (
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
    return {"id": caller["Account"], "account_id": caller["Account"], "arn": caller["Arn"]}


def _partition(session: Session, _config: State) -> State:
    chinese = session.region.startswith("cn-")
    name = "aws-cn" if chinese else "aws-us-gov" if session.region.startswith("us-gov-") else "aws"
    suffix = "amazonaws.com.cn" if chinese else "amazonaws.com"
    return {"id": name, "partition": name, "dns_suffix": suffix}


def _zones(session: Session, config: State) -> State:
    filters = [{"Name": f["name"], "Values": list(f["values"])} for f in config.get("filter") or []]
    zones = session.client("ec2").describe_availability_zones(Filters=filters)["AvailabilityZones"]
    excluded = {*(config.get("exclude_names") or []), *(config.get("exclude_zone_ids") or [])}
    wanted = [
        zone
        for zone in sorted(zones, key=lambda zone: str(zone["ZoneName"]))
        if config.get("state") in (None, zone["State"]) and not {zone["ZoneName"], zone["ZoneId"]} & excluded
    ]
    return {"id": session.region, "names": [zone["ZoneName"] for zone in wanted]}


_LISTS = {"actions": "Action", "resources": "Resource"}


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
    if block.get("principals"):
        statement["Principal"] = _principals(block["principals"])
    for condition in block.get("condition") or []:
        values = list(condition["values"])
        tests = statement.setdefault("Condition", {}).setdefault(condition["test"], {})
        tests[condition["variable"]] = values[0] if len(values) == 1 else values
    return statement


def _policy_document(_session: Session, config: State) -> State:
    statements = [_statement(block) for block in config.get("statement") or []]
    text = json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)
    return {"id": str(zlib.crc32(text.encode())), "json": text}


DATA_SOURCES = {
    "aws_caller_identity": data_source({"account_id": computed(STRING), "arn": computed(STRING)}, _identity),
    "aws_partition": data_source({"partition": computed(STRING), "dns_suffix": computed(STRING)}, _partition),
    "aws_availability_zones": data_source(
        {
            "state": optional(STRING),
            "exclude_names": optional(STRINGS),
            "exclude_zone_ids": optional(STRINGS),
            "names": computed(STRING_LIST),
        },
        _zones,
        {"filter": Block({"name": required(STRING), "values": required(STRINGS)}, nesting="set")},
    ),
    "aws_iam_policy_document": data_source(
        {"json": computed(STRING)},
        _policy_document,
        {
            "statement": Block(
                {"sid": optional(STRING), "effect": optional(STRING)}
                | {name: optional(STRINGS) for name in _LISTS},
                {
                    "principals": Block(
                        {"type": required(STRING), "identifiers": required(STRINGS)}, nesting="set"
                    ),
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
