"""The errors that Slipway raises.

SlipwayError                     cause, evidence lines, the next command
├── InputError                   the request cannot be read, or names what is not there; nothing was touched
│   ├── UnknownName              no model, environment or release of that name
│   ├── InvalidDocument          a YAML file with a wrong type or an unknown key
│   └── NothingDeployed          the environment has no cluster, or the model no release there
├── PreflightFailed              the run cannot succeed; nothing was touched
├── ToolMissing                  an executable (terraform, helm) is not installed
├── ToolFailed                   an executable ended with a failure
│   └── ToolTimedOut             an executable passed its deadline and was stopped
├── CloudError                   AWS refused
│   ├── AccessDenied
│   ├── QuotaExceeded
│   ├── CapacityUnavailable
│   └── CloudUnavailable         AWS cannot be reached
├── ClusterError                 the Kubernetes API refused or cannot be reached
├── PlanRefused                  a terraform plan would destroy what holds data
├── NotOurs                      what exists under this name was not made by this environment; nothing was touched
├── StateLocked                  another run holds the terraform state, or took the cluster's turn
│   └── ClusterBusy              another run works on the cluster
├── AddonNotReady                an add-on is installed but not ready
├── HubError                     the hub refused
│   ├── RepoNotFound
│   ├── RevisionNotFound
│   ├── TokenMissing             the repo is gated and no token was given
│   ├── TokenRejected            the hub does not know the token
│   ├── LicenceNotAccepted       the token's account has not accepted the repo's licence
│   └── HubUnavailable           429 or 5xx to the end of the retries
├── StagingFailed                bytes did not arrive, or are not what the hub lists
│   └── ChecksumMismatch
├── WarmingFailed                the cache volume could not be filled
├── RolloutFailed                the readiness gate was not passed
├── ValidationFailed             the objectives did not hold under load
│   └── Inconclusive             the load generator could not tell
├── PromiseBroken                a drill did not see a promise act
├── EvidenceRefused              a bundle of evidence is unsigned, broken, stale or of something else
├── MetricsUnavailable           no answer from Prometheus, or no series: never read as "idle"
├── PrefectUnavailable           the Prefect server does not answer
├── TeardownIncomplete           something is left; the evidence lists it
└── Interrupted                  Ctrl-C or a cancelled run
"""

from __future__ import annotations

from collections.abc import Sequence


class SlipwayError(Exception):
    """`cause`: one sentence; `evidence`: lines as they were seen; `next_command`: what to run next."""

    exit_code = 1

    def __init__(self, cause: str, *, evidence: Sequence[str] = (), next_command: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.evidence = tuple(evidence)
        self.next_command = next_command

    def __str__(self) -> str:
        lines = [self.cause, *(f"  | {line}" for line in self.evidence)]
        if self.next_command:
            lines.append(f"  next: {self.next_command}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Prefect pickles the exception of a failed task, and pickle passes no keyword-only arguments
        return _rebuild, (type(self), self.cause, self.evidence, self.next_command), self.__dict__


def _rebuild(
    kind: type[SlipwayError], cause: str, evidence: tuple[str, ...], next_command: str | None
) -> SlipwayError:
    error = kind.__new__(kind)
    SlipwayError.__init__(error, cause, evidence=evidence, next_command=next_command)
    return error


class InputError(SlipwayError):
    exit_code = 2


class NotOurs(SlipwayError):
    exit_code = 3


class UnknownName(InputError):
    pass


class InvalidDocument(InputError):
    pass


class NothingDeployed(InputError):
    pass


class PreflightFailed(SlipwayError):
    exit_code = 3


class ToolMissing(SlipwayError):
    pass


class ToolFailed(SlipwayError):
    pass


class ToolTimedOut(ToolFailed):
    pass


class CloudError(SlipwayError):
    pass


class AccessDenied(CloudError):
    pass


class QuotaExceeded(CloudError):
    pass


class CapacityUnavailable(CloudError):
    pass


class CloudUnavailable(CloudError):
    pass


class ClusterError(SlipwayError):
    pass


class PlanRefused(SlipwayError):
    pass


class StateLocked(SlipwayError):
    pass


class ClusterBusy(StateLocked):
    pass


class AddonNotReady(SlipwayError):
    pass


class HubError(SlipwayError):
    pass


class RepoNotFound(HubError):
    pass


class RevisionNotFound(HubError):
    pass


class TokenMissing(HubError):
    pass


class TokenRejected(HubError):
    pass


class LicenceNotAccepted(HubError):
    pass


class HubUnavailable(HubError):
    pass


class StagingFailed(SlipwayError):
    pass


class ChecksumMismatch(StagingFailed):
    pass


class WarmingFailed(SlipwayError):
    pass


class RolloutFailed(SlipwayError):
    pass


class ValidationFailed(SlipwayError):
    exit_code = 4


class Inconclusive(ValidationFailed):
    pass


class PromiseBroken(SlipwayError):
    exit_code = 4


class EvidenceRefused(SlipwayError):
    exit_code = 3


class MetricsUnavailable(SlipwayError):
    pass


class PrefectUnavailable(SlipwayError):
    pass


class TeardownIncomplete(SlipwayError):
    pass


class Interrupted(SlipwayError):
    exit_code = 130


def as_slipway_error(failure: BaseException) -> SlipwayError:
    """The failure itself, or one of this tree with its words; without words it was a Ctrl-C."""
    return failure if isinstance(failure, SlipwayError) else SlipwayError(str(failure) or "interrupted")
