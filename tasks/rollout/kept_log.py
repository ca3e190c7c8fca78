"""Keep the engine's log beside its release before the failure is told: going back removes the pod that has it."""

from __future__ import annotations

from tasks.records.errors import CloudError, RolloutFailed
from tasks.records.redacted import redacted
from tasks.rollout.context import RolloutContext
from tasks.rollout.explain import Explanation


def failure_of(context: RolloutContext, release_id: str, found: Explanation) -> RolloutFailed:
    """The error for an explanation. Where the engine's log tells of it, that is kept and the error says where."""
    error = found.error()
    if not found.log:
        return error
    try:
        address = context.ledger.keep_log(release_id, redacted("\n".join(found.log)) + "\n")
    except CloudError as refused:
        error.evidence += (f"the engine's log is not kept: {refused.cause}",)
        return error
    read = f"aws s3 cp {address} -"
    of_the_pod = found.next_command.startswith("kubectl") and " logs " in found.next_command
    error.next_command = read if of_the_pod else f"{found.next_command}; the engine's log: {read}"
    return error
