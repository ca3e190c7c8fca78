"""The readiness gate: wait until a release's Deployment is complete and each of its pods has answered.

Ready is evidence, not a condition (docs/decisions.md). Each new pod must answer `/health`, list the served name in
`/v1/models` and complete one token, with the API key, before it is Ready: its startup probe asks (k8s/serving/
deployment.yaml), which no network policy can block. endpoint_check.py then asks the same through the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.cloud.waiting import changes, until
from tasks.records.errors import RolloutFailed
from tasks.rollout.context import RolloutContext
from tasks.rollout.evidence import evidence_of, lines_of
from tasks.rollout.explain import Explanation, explain_first, unmade
from tasks.rollout.kept_log import failure_of
from tasks.rollout.pod_phases import phase_of, pod_phase, progress_of, release_pods, selector_of


def wait_for_pods(
    context: RolloutContext, workload: str, release_id: str, seconds: float, *, first: int = 0
) -> list[Object]:
    """Wait until the Deployment is complete with the release's pods, or `first` of them are Ready; those pods.

    Ends early where the evidence says that waiting cannot help, or where a cause that may pass (no free GPU yet) stood
    for as long as a pod may take to start. `seconds` are longer by what a large image's pull needs. Raises RolloutFailed
    with the explanation.
    """
    gate = _Gate(context, workload, release_id, first)
    say = changes(context.reporter.say)

    def look() -> list[Object] | None:
        passed = gate.passed()
        if passed is None:
            gate.judge(say)
        return passed

    return until(look, seconds + context.more_for_pull, gate.late, context.time)


@dataclass
class _Gate:
    """One wait. `pods`: the release's at the last look; `found`: what explains that they are not ready, `since` when."""

    context: RolloutContext
    workload: str
    release_id: str
    first: int
    pods: list[Object] = field(default_factory=list)
    deployment: Object | None = None
    found: Explanation | None = None
    since: float = 0.0

    def passed(self) -> list[Object] | None:
        """Look once; the pods where the gate is passed."""
        deployment = self.deployment = self.context.workload(self.workload)
        listed = self.context.cluster.list(
            "v1", "Pod", self.context.namespace, label_selector=selector_of(deployment)
        )
        self.pods = release_pods(listed, self.release_id)
        ready = [pod for pod in self.pods if pod_phase(pod) == "ready"]
        if (objects.is_complete(deployment) and self.pods) or 0 < self.first <= len(ready):
            return ready if self.first else self.pods
        return None

    def judge(self, say: Callable[[str], None]) -> None:
        """Report the phase, and raise RolloutFailed where waiting longer cannot help."""
        context = self.context
        waiting = [pod for pod in self.pods if pod_phase(pod) != "ready"]
        evidence = [evidence_of(context.cluster, pod, context.group_issues) for pod in waiting]
        # before a Deployment has its pods there is none that could tell
        refused = None if waiting else unmade(self.deployment)
        found = explain_first(evidence) or refused
        why = f": {refused.cause}: {refused.evidence[-1]}" if refused else ""
        say(f"pods of release {self.release_id}: {progress_of(self.pods, evidence)}{why}")
        now = context.time.clock()
        if found is None or self.found is None or found.cause != self.found.cause:
            self.since = now
        self.found = found
        patience = context.environment.deadlines.pod_start + context.more_for_pull
        if found and (found.final or now - self.since > patience):
            raise failure_of(context, self.release_id, found)

    def late(self) -> RolloutFailed:
        if self.found:
            return failure_of(self.context, self.release_id, self.found)
        return over_budget(self.context, self.workload, self.pods)


def over_budget(context: RolloutContext, workload: str, pods: Sequence[Object]) -> RolloutFailed:
    """The error for pods that nothing is wrong with, but whose time is over."""
    phase, evidence = phase_of(pods), lines_of(context.cluster, pods)
    if phase == "loading":
        return RolloutFailed(
            "the model is still loading at the end of its start-up budget",
            evidence=evidence,
            next_command="lower deadlines.cold_read_mib_s (stream_mib_s for weights: stream) in the environment's file: the budget is bytes over that rate",
        )
    return RolloutFailed(
        f"the rollout did not complete within its budget; its pods are still {phase}",
        evidence=evidence,
        next_command=f"kubectl -n {context.namespace} describe deployment {workload}",
    )
