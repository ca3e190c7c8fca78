"""Who is calling and what they may: tokens of service accounts, and the review kinds.

Authorization is not emulated: everybody who is authenticated may do everything, and the reviews say so.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from slipway_sandbox.kubernetes import errors, managed, names
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Object

_SHORTEST, _LONGEST, _USUAL = 600, 1 << 32, 3600  # seconds a requested token lives
_ISSUER = "https://kubernetes.default.svc"
_PREFIX = "system:serviceaccount:"


class ServiceAccountTokens:
    """Tokens this server issues (JWTs signed with `key`) and recognises again."""

    def __init__(self, key: bytes, now: Callable[[], dt.datetime]) -> None:
        self._key, self._now = key, now

    def issue(self, account: Object, audiences: list[str], seconds: int) -> tuple[str, dt.datetime]:
        """A token for a service account, and when it ends."""
        now = self._now()
        ends = now + dt.timedelta(seconds=seconds)
        metadata = account["metadata"]
        claims = {
            "aud": audiences,
            "exp": int(ends.timestamp()),
            "iat": int(now.timestamp()),
            "iss": _ISSUER,
            "sub": f"{_PREFIX}{metadata['namespace']}:{metadata['name']}",
            "kubernetes.io": {
                "namespace": metadata["namespace"],
                "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
            },
        }
        signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
        return f"{signed}.{self._signature(signed)}", ends

    def user(self, token: str) -> str | None:
        """The account's user name, or None for a token that is not from here or has ended."""
        signed, _, signature = token.rpartition(".")
        if signed.count(".") != 1 or not hmac.compare_digest(signature, self._signature(signed)):
            return None
        claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
        return str(claims["sub"]) if claims["exp"] > self._now().timestamp() else None

    def _signature(self, signed: str) -> str:
        return _text(hmac.new(self._key, signed.encode(), hashlib.sha256).digest())


def _part(value: Any) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def groups_of(user: str) -> list[str]:
    if user.startswith(_PREFIX):
        namespace = user.split(":")[2]
        return ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return ["system:masters", "system:authenticated"]


class Reviews:
    """`authenticate` is the server's own: a token to a user name, or errors.Unauthorized."""

    def __init__(
        self,
        tokens: ServiceAccountTokens,
        authenticate: Callable[[str | None], Awaitable[str]],
        now: Callable[[], dt.datetime],
    ) -> None:
        self._tokens, self._authenticate, self._now = tokens, authenticate, now

    async def answer(self, resource: Resource, body: Object, user: str, namespace: str | None) -> Object:
        """The review with its status filled in. Raises ApiStatus 400 or 422."""
        if body.get("kind", resource.kind) != resource.kind:
            raise errors.bad_request(f'kind "{body["kind"]}" does not match {resource.kind}')
        spec = body.get("spec") or {}
        metadata = (body.get("metadata") or {}) | {"creationTimestamp": managed.timestamp(self._now())}
        review = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if resource.kind == "SelfSubjectReview":
            return review | {"status": {"userInfo": {"username": user, "groups": groups_of(user)}}}
        if resource.kind == "TokenReview":
            return review | {"spec": spec, "status": await self._token_status(spec.get("token") or "")}
        if resource.kind == "SelfSubjectRulesReview":
            everything = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
            paths = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
            rules = {"resourceRules": everything, "nonResourceRules": paths, "incomplete": False}
            return review | {"spec": spec, "status": rules}
        if bool(spec.get("resourceAttributes")) == bool(spec.get("nonResourceAttributes")):
            why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            raise errors.invalid(resource, "", [names.bad("spec.resourceAttributes", None, why)])
        return review | {"spec": spec, "status": {"allowed": True}}

    async def _token_status(self, token: str) -> Object:
        try:
            user = await self._authenticate(token)
        except errors.Unauthorized as refused:
            return {"user": {}, "error": refused.message}
        return {
            "authenticated": True,
            "user": {"username": user, "groups": groups_of(user)},
            "audiences": [_ISSUER],
        }

    def token_request(self, account: Object, body: Object) -> Object:
        """Answer a TokenRequest. Raises ApiStatus 422 for a lifetime out of bounds."""
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds") or _USUAL
        if not _SHORTEST <= seconds <= _LONGEST:
            message = (
                f'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: {seconds}: '
                "may not specify a duration less than 10 minutes"
            )
            raise errors.ApiStatus(422, "Invalid", message)
        audiences = spec.get("audiences") or [_ISSUER]
        token, ends = self._tokens.issue(account, audiences, seconds)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {key: account["metadata"][key] for key in ("name", "namespace")},
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {"token": token, "expirationTimestamp": managed.timestamp(ends)},
        }
