"""Refusals as the hub words them: a status, X-Error-Code and X-Error-Message, and the message in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from aiohttp import web

from slipway_sandbox.faults import Fault, Faults


class Refusal(Exception):
    """An answer other than the one asked for."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers

    def response(self) -> web.Response:
        headers = {"X-Error-Message": self.message, **(self.headers or {})}
        if self.code:
            headers["X-Error-Code"] = self.code
        return web.json_response({"error": self.message}, status=self.status, headers=headers)


def bad_token() -> Refusal:
    return Refusal(401, "Invalid credentials in Authorization header")


def repo_not_found(authenticated: bool) -> Refusal:
    """Without a token a missing repository and a private one look the same."""
    if authenticated:
        return Refusal(404, "Repository not found", "RepoNotFound")
    challenge = {"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'}
    return Refusal(401, "Invalid username or password.", "RepoNotFound", challenge)


def gated(repo_id: str, authenticated: bool) -> Refusal:
    if authenticated:
        return Refusal(
            403,
            f"Access to model {repo_id} is restricted and you are not in the authorized list."
            f" Visit https://huggingface.co/{repo_id} to ask for access.",
            "GatedRepo",
        )
    return Refusal(
        401,
        f"Access to model {repo_id} is restricted. You must have access to it and be authenticated"
        " to access it. Please log in.",
        "GatedRepo",
    )


def revision_not_found(revision: str) -> Refusal:
    return Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def rate_limited(bucket: str, quota: int, wait_seconds: int) -> Refusal:
    message = (
        f"We had to rate limit you, you hit the quota of {quota} {bucket} requests per 5 minutes period."
        " See https://huggingface.co/docs/hub/rate-limits"
    )
    return Refusal(429, message, headers={"Retry-After": str(wait_seconds)})


def strike(faults: Faults, name: str, *targets: str) -> Fault | None:
    """The fault, when it is on for any of these targets (a repository, or a repository's file)."""
    active = [fault for fault in faults.active() if fault.name == name]
    for target in targets:
        if any(fnmatchcase(target, fault.target) for fault in active):
            return faults.hit(name, target)
    return None
