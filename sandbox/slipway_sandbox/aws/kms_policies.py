"""A key's policy as KMS takes it: moto believes every principal in it."""

from __future__ import annotations

import json
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.kms.models import KmsBackend

from slipway_sandbox.aws import identity


class MalformedPolicyDocument(JsonRESTError):  # type: ignore[misc]  # moto has no types
    """In KMS's words, e.g. github.com/cloudposse/terraform-aws-vpc-flow-logs-s3-bucket/issues/27."""

    def __init__(self) -> None:
        super().__init__(
            "MalformedPolicyDocumentException",
            "Policy contains a statement with one or more invalid principals.",
        )


def extend() -> None:
    """Let CreateKey and PutKeyPolicy refuse principals that do not exist, once, before moto answers."""
    create, put = KmsBackend.create_key, KmsBackend.put_key_policy

    def create_key(self: Any, policy: str | None, *arguments: Any, **more: Any) -> Any:
        _check(policy)
        return create(self, policy, *arguments, **more)

    def put_key_policy(self: Any, key_id: str, policy: str) -> None:
        _check(policy)
        put(self, key_id, policy)

    KmsBackend.create_key, KmsBackend.put_key_policy = create_key, put_key_policy


def _check(policy: str | None) -> None:
    if policy and identity.has_unknown_principal(json.loads(policy)):
        raise MalformedPolicyDocument
