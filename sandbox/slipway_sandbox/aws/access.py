"""Identity policies, evaluated on every call: whether the owner of an access key may do something to a resource.

moto's own enforcement (moto.iam.access_control) looks at no resource outside S3 and takes every statement with a condition
for a denial, so two parts of it are used: what collects an identity's policies, and what matches one statement. Not here:
bucket and key policies, permissions boundaries, SCPs, session policies.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from moto.iam.access_control import IAMPolicyStatement, PermissionResult, create_access_key

from slipway_sandbox.aws import identity

LOG = "iam.jsonl"  # in the sandbox's folder, read by slipway_sandbox.testing: every decision about somebody else than the operator


@dataclass(frozen=True)
class Need:
    """One action a call needs. `context`: condition keys; `refusal`: a service's own words instead of a denial."""

    action: str
    resource: str = "*"
    context: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""


class Access:
    """`denial(access key, need)` is AWS's message, or None where a policy allows it and none denies it."""

    def __init__(self, root: Path) -> None:
        self._log, self._lock = root / LOG, threading.Lock()
        self._log.unlink(missing_ok=True)

    def denial(self, access_key: str, need: Need) -> str | None:
        owner = identity.identify(access_key)
        if owner is None:
            return "The security token included in the request is invalid."
        allowed_by, denied = list[str](), False
        for policy, statement in _statements(access_key, owner.session_token):
            if not conditions_hold(statement.get("Condition") or {}, need.context):
                continue
            bare = IAMPolicyStatement({k: v for k, v in statement.items() if k != "Condition"})
            result = bare.is_action_permitted(need.action, need.resource)
            name = f"{policy}/{statement.get('Sid', '')}"
            if result is PermissionResult.PERMITTED:
                allowed_by.append(name)
            denied |= result is PermissionResult.DENIED
        if not owner.arn.endswith(f"/{identity.OPERATOR}"):
            self._write(owner.arn, need, [] if denied else allowed_by)
        who = f"User: {owner.arn} is not authorized to perform: {need.action} on resource: {need.resource}"
        if denied:
            return f"{who} with an explicit deny in an identity-based policy"
        return (
            None if allowed_by else f"{who} because no identity-based policy allows the {need.action} action"
        )

    def _write(self, arn: str, need: Need, allowed_by: list[str]) -> None:
        document = {"who": arn, "action": need.action, "resource": need.resource, "allowed_by": allowed_by}
        with self._lock, self._log.open("a") as file:
            file.write(json.dumps(document) + "\n")


def _statements(access_key: str, session_token: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(policy's name, statement) of every policy of the key's user or role."""
    headers = {"X-Amz-Security-Token": session_token} if session_token else {}
    account = identity.account_of(access_key)
    for policy in create_access_key(account, "aws", access_key, headers).collect_policies():
        name, document = "inline", policy
        if isinstance(policy, dict):
            name, document = policy["policy_name"], policy["policy_document"]
        elif not isinstance(policy, str):
            name = policy.name
            document = next(version.document for version in policy.versions if version.is_default)
        statements = json.loads(document)["Statement"]
        for statement in statements if isinstance(statements, list) else [statements]:
            yield name, statement


def conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Whether every operator holds; a key the call does not have never matches."""
    for operator, wanted in conditions.items():
        for key, values in wanted.items():
            patterns = [values] if isinstance(values, str) else list(values)
            found = context.get(key)
            if operator == "StringEquals":
                matches = found in patterns
            # a list of values, of which a call here has none: ForAllValues holds of nothing
            elif operator in ("StringEqualsIfExists", "ForAllValues:StringEquals"):
                matches = found is None or found in patterns
            elif operator == "Null":
                matches = patterns == [str(found is None).lower()]
            elif operator == "StringLike":
                matches = found is not None and any(fnmatchcase(found, pattern) for pattern in patterns)
            else:
                raise NotImplementedError(f"the sandbox's IAM does not know the condition {operator}")
            if not matches:
                return False
    return True
