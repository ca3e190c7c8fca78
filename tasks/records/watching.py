"""Following a model's branch or tag on the hub: an environment's policy, a commit as the hub lists it, what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tasks.records.quantities import Seconds
from tasks.records.record import Record
from tasks.records.results import HubFile

MOST_WATCHED = 20  # commits kept of a model, the newest


Outcome = Literal["proven", "refused", "failed"]


class WatchSettings(Record):
    """When the hub is asked for new commits of the models whose `source.follow` is true, and which of them may come in."""

    cron: str | None = Field(
        None,
        pattern=r"^\S+( \S+){4}$",
        description="when the hub is asked, as */10 * * * *; default: by hand, `slipway watch`",
    )
    timezone: str = Field("UTC", description="of the tz database: Europe/Berlin")
    organisations: tuple[str, ...] = Field(
        (),
        description="whose repos may be followed; default: the organisation of each model's own source.repo",
    )
    licences: tuple[str, ...] = Field(
        (), description="as the model card writes them: apache-2.0; default: the proven commit's alone"
    )
    settle: Seconds = Field(
        10.0,
        ge=0,
        le=600,
        description="after the hub's webhook has told of a commit, how long none must follow before the newest is looked at; "
        "five times as long is waited at most",
    )
    growth: float = Field(1.2, ge=1, description="most that the files to stage may grow by, as a factor")


class HubCommit(Record):
    """One commit of a repo as the hub lists it, before anything of it is staged."""

    repo: str = Field(description="as the hub calls it, which is another name where it was moved")
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    committed_at: datetime | None = None
    gated: bool = False
    disabled: bool = False
    licence: str = Field("", description="of the commit's model card; empty where it names none")
    files: tuple[HubFile, ...] = Field(description="all of them, also those that are not staged")
    staged: tuple[str, ...] = Field((), description="paths of those that would be staged")
    unreadable: str = Field("", description="why its files may not be read; empty where they may")

    @property
    def staged_bytes(self) -> int:
        chosen = set(self.staged)
        return sum(file.size for file in self.files if file.path in chosen)


class Watched(Record):
    """What became of one commit: refused by the policy, failed on its way, or proven."""

    commit: str
    basis: str = Field(
        description="digest of the model's file and the policy: with another one it is judged again"
    )
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    at: datetime
    release: str | None = None
    seconds: dict[str, float] = Field(
        default_factory=dict,
        description="from the commit until it was noticed, judged and proven; and whose those of its deploy were",
    )


class WatchedCommits(Record):
    """The newest commits of a model that an environment's watch has decided about."""

    commits: tuple[Watched, ...] = ()

    def after(self, one: Watched) -> WatchedCommits:
        """With one more, in the place of an earlier one about the same commit."""
        others = tuple(known for known in self.commits if known.commit != one.commit)
        return WatchedCommits(commits=(*others, one)[-MOST_WATCHED:])

    def find(self, commit: str, basis: str) -> Watched | None:
        return next((one for one in self.commits if (one.commit, one.basis) == (commit, basis)), None)
