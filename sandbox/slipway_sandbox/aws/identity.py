"""Who an access key belongs to, and its secret: moto's IAM and STS, asked in process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.iam.models import AccessKey, get_account_id_from, iam_backends
from moto.sts.models import sts_backends

from slipway_sandbox.settings import ACCESS_KEY, ACCOUNT_ID, DEPLOYER_KEY, SECRET_KEY

OPERATOR = "slipway-operator"  # the IAM user the sandbox's own keys belong to
DEPLOYER = "slipway-deployer"


@dataclass(frozen=True)
class Identity:
    """The owner of an access key."""

    arn: str
    secret: str
    session_token: str | None = None


def _iam() -> Any:
    return iam_backends[ACCOUNT_ID]["aws"]


def add_operator(region: str) -> str:
    """Give the settings' access key an owner, so that GetCallerIdentity names a real principal. Its ARN."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    user = _add_user(region, OPERATOR, ACCESS_KEY)
    user.put_policy("everything", json.dumps({"Version": "2012-10-17", "Statement": [everything]}))
    return str(user.arn)


def add_deployer(region: str, policies: Path) -> None:
    """A user with exactly the policies of a folder, NAME.json each: who a sandbox with --iam is used as."""
    user = _add_user(region, DEPLOYER, DEPLOYER_KEY)
    for file in sorted(policies.glob("*.json")):
        user.put_policy(file.stem, file.read_text())


def _add_user(region: str, name: str, access_key: str) -> Any:
    iam = _iam()
    user = iam.create_user(region, name)
    key = AccessKey(name, "AKIA", ACCOUNT_ID)
    key.access_key_id, key.secret_access_key = access_key, SECRET_KEY
    user.access_keys.append(key)
    iam.access_keys[access_key] = key
    return user


def identify(access_key: str) -> Identity | None:
    """The user or the assumed role a key belongs to; None where nobody ever got that key."""
    for region in list(sts_backends[ACCOUNT_ID].values()):
        role = region.get_assumed_role_from_access_key(access_key)
        if role:
            return Identity(role.arn, role.secret_access_key, role.session_token)
    key = _iam().access_keys.get(access_key)
    user = _iam().get_user_from_access_key_id(access_key) if key else None
    return Identity(user.arn, key.secret_access_key) if user else None


def account_of(access_key: str) -> str:
    """The account whose user or role a key belongs to; a role of another account is entered by AssumeRole."""
    return str(get_account_id_from(access_key))


def principal_exists(arn: str) -> bool:
    """Whether IAM of the ARN's account has the user or role (or it is the account's root)."""
    account = arn.split(":")[4] if arn.startswith("arn:aws:iam::") else ""
    if arn == f"arn:aws:iam::{account}:root":
        return True
    iam = iam_backends[account or ACCOUNT_ID]["aws"]
    if ":role/" in arn:
        return any(role.arn == arn for role in iam.roles.values())
    return any(user.arn == arn for user in iam.users.values())


def has_unknown_principal(policy: Any) -> bool:
    """Whether a resource's policy names a user or role that does not exist, which S3 and KMS refuse."""
    statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    named: list[str] = []
    for statement in statements:
        principal = statement.get("Principal")
        listed = principal.get("AWS", []) if isinstance(principal, dict) else []
        named += [listed] if isinstance(listed, str) else listed
    return not all(
        one == "*" or one.isdigit() or ":assumed-role/" in one or principal_exists(one) for one in named
    )


def principal_of(arn: str) -> str:
    """The IAM principal behind a caller's ARN: a session of a role stands for the role."""
    if ":assumed-role/" not in arn:
        return arn
    name = arn.split(":assumed-role/")[1].split("/")[0]
    for role in _iam().roles.values():
        if role.name == name:
            return str(role.arn)
    return f"arn:aws:iam::{ACCOUNT_ID}:role/{name}"
