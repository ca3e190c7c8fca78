"""Who an access key belongs to, and its secret: moto's IAM and STS, asked in process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moto.iam.models import AccessKey, iam_backends
from moto.sts.models import sts_backends

from slipway_sandbox.settings import ACCESS_KEY, ACCOUNT_ID, SECRET_KEY

OPERATOR = "slipway-operator"  # the IAM user the sandbox's own keys belong to


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
    iam = _iam()
    user = iam.create_user(region, OPERATOR)
    key = AccessKey(OPERATOR, "AKIA", ACCOUNT_ID)
    key.access_key_id, key.secret_access_key = ACCESS_KEY, SECRET_KEY
    user.access_keys.append(key)
    iam.access_keys[ACCESS_KEY] = key
    arn: str = user.arn
    return arn


def identify(access_key: str) -> Identity | None:
    """The user or the assumed role a key belongs to; None where nobody ever got that key."""
    for region in list(sts_backends[ACCOUNT_ID].values()):
        role = region.get_assumed_role_from_access_key(access_key)
        if role:
            return Identity(role.arn, role.secret_access_key, role.session_token)
    key = _iam().access_keys.get(access_key)
    user = _iam().get_user_from_access_key_id(access_key) if key else None
    return Identity(user.arn, key.secret_access_key) if user else None


def principal_exists(arn: str) -> bool:
    """Whether IAM has the user or role (or it is the account's root)."""
    iam = _iam()
    if arn == f"arn:aws:iam::{ACCOUNT_ID}:root":
        return True
    if ":role/" in arn:
        return any(role.arn == arn for role in iam.roles.values())
    return any(user.arn == arn for user in iam.users.values())


def principal_of(arn: str) -> str:
    """The IAM principal behind a caller's ARN: a session of a role stands for the role."""
    if ":assumed-role/" not in arn:
        return arn
    name = arn.split(":assumed-role/")[1].split("/")[0]
    for role in _iam().roles.values():
        if role.name == name:
            return str(role.arn)
    return f"arn:aws:iam::{ACCOUNT_ID}:role/{name}"
