"""A queue and the events that are sent to it: SQS and EventBridge, as far as Karpenter's interruption queue needs them."""

from __future__ import annotations

from slipway_sandbox.terraform.provider.resources.shapes import compact, split_id, tag_list, tag_map
from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone

GONE = ("NonExistentQueue", "QueueDoesNotExist", "ResourceNotFoundException")

# ------------------------------------------------------------------ queue


def _attributes(planned: State) -> dict[str, str]:
    sealed = planned["sqs_managed_sse_enabled"]
    return compact(
        {
            "MessageRetentionPeriod": str(planned["message_retention_seconds"]),
            "SqsManagedSseEnabled": None if sealed is None else str(sealed).lower(),
            "Policy": planned["policy"],
        }
    )


def _create_queue(session: Session, planned: State) -> State:
    url = session.client("sqs").create_queue(
        QueueName=planned["name"], Attributes=_attributes(planned), tags=planned["tags_all"] or {}
    )["QueueUrl"]
    return {"id": url, "url": url, "arn": session.arn("sqs", planned["name"])}


def _read_queue(session: Session, state: State) -> State | None:
    sqs, url = session.client("sqs"), state["id"]
    shown = unless_gone(
        lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"], *GONE
    )
    if shown is None:
        return None
    return {
        "id": url,
        "url": url,
        "name": url.rpartition("/")[2],
        "arn": shown["QueueArn"],
        "message_retention_seconds": int(shown["MessageRetentionPeriod"]),
        "sqs_managed_sse_enabled": shown.get("SqsManagedSseEnabled") == "true",
        "policy": shown.get("Policy", ""),
        "tags": sqs.list_queue_tags(QueueUrl=url).get("Tags") or {},
    }


def _update_queue(session: Session, prior: State, planned: State) -> None:
    session.client("sqs").set_queue_attributes(QueueUrl=planned["id"], Attributes=_attributes(planned))


def _retag_queue(session: Session, state: State, removed: list[str], added: dict[str, str]) -> None:
    sqs, url = session.client("sqs"), state["id"]
    if removed:
        sqs.untag_queue(QueueUrl=url, TagKeys=removed)
    if added:
        sqs.tag_queue(QueueUrl=url, Tags=added)


QUEUE = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "message_retention_seconds": optional(NUMBER, default=345600),
        "sqs_managed_sse_enabled": optional(BOOL, computed=True),
        "policy": optional(STRING, computed=True, document=True),
        "arn": computed(STRING),
        "url": computed(STRING),
    },
    create=_create_queue,
    read=_read_queue,
    update=_update_queue,
    retag=_retag_queue,
    delete=lambda session, state: unless_gone(
        lambda: session.client("sqs").delete_queue(QueueUrl=state["id"]), *GONE
    ),
)

# ------------------------------------------------------------------ rule


def _put_rule(session: Session, planned: State) -> State:
    made = session.client("events").put_rule(
        **compact(
            {
                "Name": planned["name"],
                "Description": planned["description"],
                "EventPattern": planned["event_pattern"],
                "Tags": tag_list(planned["tags_all"]),
            }
        )
    )
    return {"id": planned["name"], "arn": made["RuleArn"]}


def _read_rule(session: Session, state: State) -> State | None:
    events, name = session.client("events"), state["id"]
    shown = unless_gone(lambda: events.describe_rule(Name=name))
    if shown is None:
        return None
    return {
        "id": name,
        "name": name,
        "arn": shown["Arn"],
        "description": shown.get("Description") or "",
        "event_pattern": shown["EventPattern"],
        "tags": tag_map(events.list_tags_for_resource(ResourceARN=shown["Arn"]).get("Tags")),
    }


def _update_rule(session: Session, prior: State, planned: State) -> None:
    _put_rule(session, planned)


def _retag_rule(session: Session, state: State, removed: list[str], added: dict[str, str]) -> None:
    events, arn = session.client("events"), state["arn"]
    if removed:
        events.untag_resource(ResourceARN=arn, TagKeys=removed)
    if added:
        events.tag_resource(ResourceARN=arn, Tags=tag_list(added))


RULE = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "description": optional(STRING),
        "event_pattern": optional(STRING, document=True),
        "arn": computed(STRING),
    },
    create=_put_rule,
    read=_read_rule,
    update=_update_rule,
    retag=_retag_rule,
    delete=lambda session, state: unless_gone(lambda: session.client("events").delete_rule(Name=state["id"])),
)

# ------------------------------------------------------------------ target


def _put_target(session: Session, planned: State) -> State:
    rule, target = planned["rule"], planned["target_id"]
    session.client("events").put_targets(Rule=rule, Targets=[{"Id": target, "Arn": planned["arn"]}])
    return {"id": f"{rule}-{target}"}


def _read_target(session: Session, state: State) -> State | None:
    events = session.client("events")
    found = unless_gone(lambda: events.list_targets_by_rule(Rule=state["rule"])["Targets"])
    shown = next((target for target in found or [] if target["Id"] == state["target_id"]), None)
    if shown is None:
        return None
    identity = f"{state['rule']}-{state['target_id']}"
    return {
        "id": identity,
        "rule": state["rule"],
        "target_id": state["target_id"],
        "arn": shown["Arn"],
    }


def _update_target(session: Session, prior: State, planned: State) -> None:
    _put_target(session, planned)


def _remove_target(session: Session, state: State) -> None:
    events = session.client("events")
    unless_gone(lambda: events.remove_targets(Rule=state["rule"], Ids=[state["target_id"]]))


TARGET = resource(
    {
        "rule": required(STRING, forces_new=True),
        "target_id": optional(STRING, computed=True, forces_new=True),
        "arn": required(STRING),
    },
    create=_put_target,
    read=_read_target,
    update=_update_target,
    delete=_remove_target,
    importer=lambda identity: split_id(identity, "/", "rule", "target_id"),
)

RESOURCES = {
    "aws_cloudwatch_event_rule": RULE,
    "aws_cloudwatch_event_target": TARGET,
    "aws_sqs_queue": QUEUE,
}
