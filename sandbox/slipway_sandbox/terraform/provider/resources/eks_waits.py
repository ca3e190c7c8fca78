"""Waiting until EKS is through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway_sandbox.terraform.provider.session import Session, WaitFailed, unless_gone


def wait_for_update(session: Session, update: dict[str, Any], within: float, **what: str) -> None:
    """Wait until an update EKS accepted is through. Raises WaitFailed with the errors EKS names."""

    def status() -> str:
        shown = session.client("eks").describe_update(updateId=update["id"], **what)["update"]
        if shown["status"] in ("Failed", "Cancelled"):
            raise WaitFailed(f"EKS update {update['id']} {shown['status']}: {shown.get('errors')}")
        return str(shown["status"])

    session.wait(f"EKS update {update['id']}", status, ["Successful"], within)


def health(shown: dict[str, Any]) -> str:
    """The issues EKS reports, as one text: the reason when a wait fails."""
    issues = (shown.get("health") or {}).get("issues") or []
    return "; ".join(f"{issue.get('code')}: {issue.get('message')}" for issue in issues)


def wait_until_active(
    session: Session, what: str, describe: Callable[[], dict[str, Any]], within: float
) -> None:
    """Wait for status ACTIVE. Raises WaitFailed, with EKS's own issues where it names any."""
    seen: dict[str, Any] = {}

    def status() -> str:
        seen.update(describe())
        return str(seen["status"])

    try:
        session.wait(what, status, ["ACTIVE"], within)
    except WaitFailed as failure:
        raise WaitFailed(f"{failure}. last error: {health(seen) or 'none reported'}") from failure


def wait_until_gone(
    session: Session, what: str, describe: Callable[[], dict[str, Any]], within: float
) -> None:
    """Wait until EKS knows it no more. A DELETE_FAILED raises WaitFailed."""

    def status() -> str | None:
        shown = unless_gone(describe)
        return None if shown is None else str(shown["status"])

    session.wait(what, status, [None], within)
