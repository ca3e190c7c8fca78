"""Explain why a Job of ours did not do its work: decided from its pod and events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.records.environment import Environment
from tasks.records.errors import SlipwayError
from tasks.records.names import OWN_KEY_SECRET, VALIDATION
from tasks.records.quantities import human_seconds

Phase = Literal["creating", "scheduling", "starting", "running", "succeeded", "failed"]

# a registry may be away for a moment, a Secret may be about to be made: kubelet tries again by itself
HOPELESS_SECONDS = 20.0
UNPULLABLE = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull")
UNCONFIGURED = ("CreateContainerConfigError", "CreateContainerError")


@dataclass(frozen=True)
class Limits:
    """Longest waits in seconds. `starting`: until the container runs; `running`: from then until it has ended."""

    starting: float
    running: float


def phase_of(pod: Object | None) -> Phase:
    """How far the Job's pod is."""
    if pod is None:
        return "creating"
    match objects.status(pod).get("phase"):
        case "Succeeded":
            return "succeeded"
        case "Failed":
            return "failed"
        case "Running":
            return "running"
    return "starting" if objects.node_of(pod) else "scheduling"


def waiting_of(pod: Object) -> tuple[str, str]:
    """(reason, message) of a container that waits, such as ImagePullBackOff; empty where none does."""
    for status in objects.container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"]), str(waiting.get("message", ""))
    return "", ""


@dataclass(frozen=True)
class Failures:
    """The errors of one Job, of the kind `failed`."""

    environment: Environment
    name: str
    limits: Limits
    failed: type[SlipwayError]

    def no_pod(self, job: Object | None, *, had_pod: bool, waited: float) -> SlipwayError | None:
        """The error for a Job without a pod; None while one may still come."""
        if job is None:
            return self._error(f"job {self.name} was deleted by somebody else", self._again)
        condition = objects.condition(job, "Failed")
        if condition.get("status") == "True":
            what = condition.get("message") or condition.get("reason")
            return self._error(f"job {self.name} was ended by Kubernetes: {what}", self._describe("job"))
        if had_pod:
            return self._error(
                f"the pod of job {self.name} went away: its node was drained or lost", self._again
            )
        if waited > self.limits.starting:
            within = human_seconds(self.limits.starting)
            return self._error(f"job {self.name} made no pod within {within}", self._describe("job"))
        return None

    def overdue(self, pod: Object, phase: Phase, *, waited: float) -> SlipwayError | None:
        """The error for a pod that cannot start or takes too long; None while waiting may help."""
        reason, message = waiting_of(pod)
        image = self.environment.pulled_as(self.environment.validation.image)
        if reason in UNPULLABLE and waited > min(HOPELESS_SECONDS, self.limits.starting):
            return self._error(
                f"the image {image} cannot be pulled ({reason})",
                f"set validation.image in environments/{self.environment.name}.yaml to a Python that the nodes can pull",
                message,
            )
        if reason in UNCONFIGURED and waited > min(HOPELESS_SECONDS, self.limits.starting):
            return self._error(
                f"the container of job {self.name} cannot be made ({reason})",
                f"kubectl -n {self._namespace} get secret {OWN_KEY_SECRET}",
                message,
            )
        if phase in ("scheduling", "starting") and waited > self.limits.starting:
            within = human_seconds(self.limits.starting)
            what = {
                "scheduling": f"no node takes the pod of job {self.name} within {within}: it must not run on a GPU node",
                "starting": f"job {self.name} did not start within {within}: {image} is still being pulled",
            }[phase]
            return self._error(what, self._describe("pods"), message)
        if phase == "running" and waited > self.limits.running:
            within = human_seconds(self.limits.running)
            return self._error(f"job {self.name} did not end within {within}", self._again)
        return None

    def ended(self, pod: Object, log: Sequence[str]) -> SlipwayError:
        """The error for a program that ended with a failure."""
        why = str(objects.status(pod).get("reason") or "")
        for status in objects.container_statuses(pod):
            ended = (status.get("state") or {}).get("terminated") or {}
            if ended.get("reason") == "OOMKilled":
                return self._error(
                    f"job {self.name} was killed for memory",
                    "shorten the load, or raise the limit in k8s/validation/job.yaml",
                    *log[-10:],
                )
            code = ended.get("exitCode")
            if code:
                last = log[-1].strip() if log else str(ended.get("message") or "it said nothing")
                why = f"exit code {code}: {last}"
        return self._error(f"job {self.name} failed: {why or 'its pod failed'}", self._again, *log[-10:])

    def leftovers(self, pods: Sequence[str]) -> SlipwayError:
        """The error for pods of an earlier run that do not go away: they would disturb what is measured."""
        return self._error(
            "pods of a run that was killed still ask the gateway",
            f"kubectl -n {self._namespace} delete pod --force {' '.join(pods)}",
            *pods,
        )

    def with_events(self, error: SlipwayError, events: Sequence[str]) -> SlipwayError:
        """The same error with the last events as further evidence."""
        return self.failed(
            error.cause, evidence=[*error.evidence, *events[-5:]], next_command=error.next_command
        )

    @property
    def _namespace(self) -> str:
        return self.environment.namespace

    @property
    def _again(self) -> str:
        return "run the same command again, or with --measure-from here where the gateway can be reached from here"

    def _describe(self, kind: str) -> str:
        return f"kubectl -n {self._namespace} describe {kind} -l app={VALIDATION}"

    def _error(self, cause: str, command: str, *evidence: str) -> SlipwayError:
        return self.failed(cause, evidence=[line for line in evidence if line], next_command=command)
