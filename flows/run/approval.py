"""Let a person approve what a run would do to a protected environment, before it takes the cluster's turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prefect import get_run_logger
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment
from pydantic import Field

from flows.run.proposal import Proposal
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.progress import SHOWN
from tasks.records.quantities import human_seconds
from tasks.releases.records import Approval
from tasks.task import show_markdown

# who is asked at the terminal of a `slipway` command: returns the approver's name, raises where the answer is no
_ASKS: list[Callable[[Proposal], str]] = []


class ApprovalForm(RunInput):
    """What Prefect's UI asks of whoever resumes the run."""

    approver: str = Field(min_length=1, max_length=200, title="Approver", description="your name")
    reason: str = Field(min_length=1, max_length=2000, title="Reason", description="why, for the ledger")


@contextmanager
def asked_at_the_terminal(ask: Callable[[Proposal], str]) -> Iterator[None]:
    """Let `ask` put the question to a person while the block's run has no deployment of Prefect."""
    _ASKS.append(ask)
    try:
        yield
    finally:
        _ASKS.pop()


def check_said(approved_by: str, reason: str) -> None:
    """Raises InputError where only one of the two is said."""
    if bool(approved_by.strip()) != bool(reason.strip()):
        raise InputError(
            "an approval needs both: who gave it and why",
            next_command='slipway ci promote MODEL -e ENVIRONMENT --approved-by NAME --reason "WHY"',
        )


def approved(
    propose: Callable[[], Proposal], environment: Environment, approved_by: str, reason: str
) -> Approval:
    """The approval that was said when the run was started, or a person's answer now.

    A run of a deployment is suspended until somebody fills the form in Prefect's UI: its process ends and holds
    nothing, and it begins again once it is resumed. Where something else would be done then, it is asked again.
    `propose` is called only where somebody is asked.
    Raises InputError where there is nobody to ask, Interrupted where the answer is no.
    """
    if approved_by:
        return _approval(approved_by, reason, "said when it was started")
    if not deployment.id and not _ASKS:
        raise InputError(
            f"{environment.name} is protected, and there is nobody here to ask",
            next_command='run the same command again with --approve "WHY"',
        )
    proposal = propose()
    if deployment.id:
        seconds = environment.deadlines.approval
        show_markdown("approval", proposal.page, f"{proposal.what}?")
        get_run_logger().info(
            "%s: waits for an approval in Prefect, at most %s",
            proposal.what,
            human_seconds(seconds),
            extra=SHOWN,
        )
        form = ApprovalForm.with_initial_data(description=proposal.page)
        said = suspend_flow_run(wait_for_input=form, timeout=int(seconds), key=f"approval-{proposal.key}")
        return _approval(said.approver, said.reason, "in Prefect")
    answer = "asked at the terminal, and the answer was yes"
    return _approval(_ASKS[-1](proposal), answer, "at the terminal")


def _approval(approver: str, reason: str, how: str) -> Approval:
    return Approval(approver=approver.strip(), reason=reason.strip(), at=datetime.now(UTC), how=how)
