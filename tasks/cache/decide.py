"""The next step towards a warm claim, from what is there. Pure; asked again after every step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

JobState = Literal["running", "succeeded", "failed"]


# What a run waits for; each has a deadline of its own.
Phase = Literal[
    "deleting", "binding", "growing", "creating", "scheduling", "volume", "starting", "running", "lost"
]


class Action(Enum):
    """The next step towards a warm claim."""

    REUSE = "reuse"  # the claim holds this very manifest
    CREATE_CLAIM = "create claim"
    REPLACE_CLAIM = "replace claim"  # too small or of another class, and not bound yet
    AWAIT_BINDING = "await binding"  # too small, and its volume is named but not bound yet
    EXPAND_CLAIM = "expand claim"
    AWAIT_GROWTH = "await growth"  # the larger size was asked for, the volume does not have it yet
    START_JOB = "start job"
    REPLACE_JOB = "replace job"  # it ended before this run, or fills the claim with something else
    WATCH_JOB = "watch job"
    AWAIT_DELETION = "await deletion"
    RECORD = "record"  # the job succeeded: mark the claim
    FAIL_JOB = "job failed"
    FAIL_CLAIM = "claim lost"


@dataclass(frozen=True)
class ClaimSeen:
    """The claim as found. `warm_commit`, `warm_manifest` (a sha256): what it holds whole; `volume_bytes`: its volume's size;
    `names_volume`: it is for one volume and no other; `other_class`: a new claim would get another storage class."""

    phase: str
    requested_bytes: int
    warm_commit: str | None = None
    warm_manifest: str | None = None
    deleting: bool = False
    volume_bytes: int | None = None
    names_volume: bool = False
    other_class: bool = False


@dataclass(frozen=True)
class JobSeen:
    """The job named for this commit. `watched`: this run started it or saw it running; `hopeless`: its newest pod
    ended in a way that trying again does not change, though the job controller may still count it as running."""

    state: JobState
    manifest: str | None
    deleting: bool = False
    watched: bool = False
    hopeless: bool = False


def decide(
    claim: ClaimSeen | None, job: JobSeen | None, *, commit: str, manifest: str, needed_bytes: int
) -> Action:
    """The next action for a claim that shall hold `commit` as `manifest` (its sha256) lists it, in `needed_bytes`."""
    if claim is None:
        return Action.CREATE_CLAIM
    if claim.deleting:
        return Action.AWAIT_DELETION
    if claim.phase == "Lost":
        return Action.FAIL_CLAIM
    if claim.phase == "Bound" and (claim.warm_commit, claim.warm_manifest) == (commit, manifest):
        return Action.REUSE
    if claim.other_class and claim.phase != "Bound" and not claim.names_volume:
        return Action.REPLACE_CLAIM
    if claim.requested_bytes < needed_bytes:
        return _for_small(claim)
    if claim.volume_bytes is not None and claim.volume_bytes < needed_bytes:
        return Action.AWAIT_GROWTH
    return _for_job(job, manifest)


def _for_small(claim: ClaimSeen) -> Action:
    if claim.phase == "Bound":
        return Action.EXPAND_CLAIM
    return Action.AWAIT_BINDING if claim.names_volume else Action.REPLACE_CLAIM


def _for_job(job: JobSeen | None, manifest: str) -> Action:
    if job is None:
        return Action.START_JOB
    if job.deleting:
        return Action.AWAIT_DELETION
    if job.manifest != manifest:
        return Action.REPLACE_JOB
    if job.state == "running" and (job.watched or not job.hopeless):
        return Action.WATCH_JOB
    if not job.watched:
        # How it ended says nothing of the volume now: other commits may have been warmed since. The new job
        # finds the marker and ends within a second where everything is still there.
        return Action.REPLACE_JOB
    return Action.RECORD if job.state == "succeeded" else Action.FAIL_JOB
