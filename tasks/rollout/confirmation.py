"""Confirm that a model whose replicas come back (wake, rollback) answers through the gateway."""

from __future__ import annotations

from tasks.cloud import objects
from tasks.records import names
from tasks.records.model import Model
from tasks.records.questions import NAMES
from tasks.rollout import gateway
from tasks.rollout.asking import ask_endpoint
from tasks.rollout.context import RolloutContext
from tasks.rollout.gate import wait_for_pods
from tasks.rollout.start_report import remember

# where there is no Deployment to read a start-up budget from
DEFAULT_BUDGET_SECONDS = 600.0


def confirm(context: RolloutContext, model: Model, cause: str) -> str:
    """Wait for the replicas as long as a start may take, then for one answer; what it says. Raises RolloutFailed.

    The start is kept with the release; `cause` says what brought the replicas back.
    """
    workload, cluster, environment = names.workload(model), context.cluster, context.environment
    deployment = context.workload(workload)
    release = objects.annotations(deployment).get(names.RELEASE_ANNOTATION, "")
    seconds = float(objects.spec(deployment).get("progressDeadlineSeconds", DEFAULT_BUDGET_SECONDS))
    deadline = context.time.clock() + seconds
    pods = wait_for_pods(context, workload, release, seconds)
    left = max(0.0, deadline - context.time.clock())
    endpoint = gateway.endpoint_of(cluster, environment, model, seconds=left, time=context.time)
    record = context.ledger.find(release)
    if record and record.rollout:  # what was asked when it was rolled out
        endpoint = endpoint.model_copy(update={"route": record.rollout.endpoint.route})
    answer = ask_endpoint(context, endpoint, workload)
    context.reporter.say(f"{NAMES[endpoint.route]} through the gateway came back: {answer!r:.60}")
    remember(context, release, pods, cause, model.scaling.start_budget)
    return answer
