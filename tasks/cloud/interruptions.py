"""Whether EC2's notices of spot interruptions reach Karpenter's queue: the EventBridge rule of infra/terraform/cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud import karpenter
from tasks.cloud.aws import Aws, aws_errors, error_code


def rule(cluster_name: str) -> str:
    """The rule of "EC2 Spot Instance Interruption Warning". `cluster_name`: cluster.name of the environment."""
    return f"{cluster_name}-karpenter-spot"


def cut(aws: Aws, cluster_name: str) -> list[str]:
    """Why no notice reaches the queue, as lines; empty where they do. Raises AccessDenied, CloudError."""
    name, client = rule(cluster_name), aws.client("events")
    with aws_errors("reading the rule of spot interruptions"):
        try:
            state = str(client.describe_rule(Name=name).get("State"))
            targets = client.list_targets_by_rule(Rule=name)["Targets"]
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            return [f"there is no EventBridge rule {name}"]
    return judge(name, state, targets, karpenter.queue(cluster_name))


def judge(name: str, state: str, targets: Sequence[Mapping[str, Any]], queue: str) -> list[str]:
    """Pure; `targets` as EventBridge lists them."""
    lines = [] if state == "ENABLED" else [f"the EventBridge rule {name} is {state}"]
    if not any(str(target["Arn"]).endswith(f":{queue}") for target in targets):
        lines.append(f"the EventBridge rule {name} does not send to the queue {queue}")
    return lines
