"""Tell the hub's refusals apart, each with the next command.

The hub answers 401 for a bad token, for a gated repo without one, and for a repo nobody may know exists;
only X-Error-Code and X-Error-Message tell them apart (as huggingface_hub's hf_raise_for_status reads them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tasks.records.errors import (
    HubError,
    HubUnavailable,
    LicenceNotAccepted,
    RepoNotFound,
    RevisionNotFound,
    TokenMissing,
    TokenRejected,
)
from tasks.records.redacted import redacted

_BAD_TOKEN = ("Invalid credentials in Authorization header", "Invalid user token", "User Access Token")
_STORE_TOKEN = "export HF_TOKEN=…, make the Prefect Secret block hub-token, or set the secret CLUSTER/hub-token in Secrets Manager"  # noqa: S105


def is_transient(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in (408, 425, 429) or status >= 500


class AskedHub(Protocol):
    """The hub that refused: its address, and whether a token was sent."""

    @property
    def endpoint(self) -> str: ...

    @property
    def token_given(self) -> bool: ...


def refusal(status: int, headers: Mapping[str, str], hub: AskedHub, *, repo: str, doing: str) -> HubError:
    """The error for an answer of 400 or more to a request for `repo`. `doing`: the request, for the evidence."""
    code = headers.get("X-Error-Code", "")
    message = headers.get("X-Error-Message", "")
    evidence = [redacted(f"{doing}: {status} {code} {message}".rstrip())]
    page, token_given = f"{hub.endpoint}/{repo}", hub.token_given
    if status == 401 and token_given and any(text in message for text in _BAD_TOKEN):
        return TokenRejected(
            "the hub does not know the token",
            evidence=evidence,
            next_command=f"make a read token at {hub.endpoint}/settings/tokens, then {_STORE_TOKEN}",
        )
    if code == "GatedRepo" or (status == 403 and "gated" in message.lower()):
        return _gated(repo, page, token_given, evidence)
    if code == "RevisionNotFound":
        return RevisionNotFound(
            f"{repo} has no such revision", evidence=evidence, next_command=f"see {page}/commits/main"
        )
    if code == "RepoNotFound" or status in (401, 404):
        unseen = "" if token_given else " (without a token a private repo looks the same)"
        return RepoNotFound(
            f"the hub has no model {repo}{unseen}", evidence=evidence, next_command=f"see {page}"
        )
    if is_transient(status):
        return HubUnavailable(
            f"the hub answered {status} to the end of the retries",
            evidence=evidence,
            next_command="wait some minutes and run the same command again: what was done is kept",
        )
    return HubError(f"the hub answered {status} for {repo}", evidence=evidence, next_command=f"see {page}")


def _gated(repo: str, page: str, token_given: bool, evidence: list[str]) -> HubError:
    if not token_given:
        return TokenMissing(
            f"{repo} is gated and no token was given",
            evidence=evidence,
            next_command=f"accept the licence at {page}, then {_STORE_TOKEN}",
        )
    return LicenceNotAccepted(
        f"the token's account has not been let into {repo}",
        evidence=evidence,
        next_command=f"accept the licence at {page} with the account the token belongs to",
    )


def unreachable(endpoint: str, doing: str, problem: BaseException | str) -> HubUnavailable:
    """The error where no answer came, to the end of the retries."""
    return HubUnavailable(
        f"the hub at {endpoint} cannot be reached",
        evidence=[f"{doing}: {redacted(str(problem))}"],
        next_command=f"curl -sSI {endpoint}",
    )
