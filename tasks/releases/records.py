"""What the ledger keeps of a release: how it was applied, how long its starts took, what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.records.answers import AnswersReport
from tasks.records.errors import RolloutFailed, SlipwayError
from tasks.records.pairs import Paired
from tasks.records.record import Record
from tasks.records.reports import LoadReport, Sweep
from tasks.records.results import (
    Endpoint,
    Feasibility,
    Infrastructure,
    PreflightRow,
    Release,
    Rollout,
    StorageOutputs,
    WeightsChoice,
)
from tasks.records.starts import CompileCache

NOT_PLANNED = "not planned"
PLAN = rf"^(no change|{NOT_PLANNED}|[0-9a-f]{{64}})$"
MOST_STARTS = 20  # kept with a release, the newest
# causes of starts that no flow waited for
BY_REQUEST, BY_SCALER = "request", "scaler"
# of starts from zero: what the next one will be like
FROM_ZERO = (BY_REQUEST, "wake")


class Start(Record):
    """One start of a release: when its pod was made, what caused it, and the seconds each phase took."""

    at: datetime
    cause: str
    phases: dict[str, float]
    compile_cache: CompileCache | None = Field(None, description="of starts that kept what they compiled")

    @property
    def seconds(self) -> float:
        return sum(self.phases.values())

    @property
    def saved(self) -> float | None:
        """Seconds that its compile cache saved beside the start that made it; None where that is not known."""
        cache = self.compile_cache
        if not cache or not cache.again or cache.first is None or "compile" not in self.phases:
            return None
        return cache.first - self.phases["compile"]

    def after(self, earlier: Sequence[Start]) -> Start:
        """The start with what compilation took in the start that made its cache, found among earlier ones."""
        mine = self.compile_cache
        if mine is None or not mine.again:
            return self
        for one in sorted(earlier, key=lambda one: one.at, reverse=True):
            theirs = one.compile_cache
            if theirs and theirs.key == mine.key:
                first = theirs.first if theirs.again else one.phases.get("compile")
                return self.model_copy(update={"compile_cache": mine.model_copy(update={"first": first})})
        return self


class Failure(Record):
    """Why a release does not serve: the error that was reported."""

    cause: str
    evidence: tuple[str, ...] = ()
    next_command: str | None = None

    @classmethod
    def of(cls, error: SlipwayError) -> Failure:
        return cls(cause=error.cause, evidence=error.evidence, next_command=error.next_command)


class Approval(Record):
    """Who let a run do something to a protected environment, why, and where it was said."""

    approver: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    at: datetime
    how: str = Field(description="in Prefect, at the terminal, or said when the run was started")

    def __str__(self) -> str:
        return f"by {self.approver}, {self.how}, {self.at:%Y-%m-%d %H:%M} UTC: {self.reason}"


class Made(Record):
    """How a deploy made a release: what preflight said, what terraform applied, what it costs."""

    preflight: tuple[PreflightRow, ...] = Field(min_length=1, description="the table, as it was judged")
    judged_at: datetime = Field(description="when; the price is of that day")
    plans: dict[Literal["storage", "cluster"], Annotated[str, Field(pattern=PLAN)]] = Field(
        min_length=2,
        description="sha256 of each terraform plan that was applied, or `no change`; `not planned` in a deploy that began "
        "with a later stage",
    )
    price: str = Field(min_length=1, description="an hour, by the list prices of that day, with its parts")
    engine_version: str = Field(description="vLLM's, as the image's name says it; empty where it does not")

    @classmethod
    def of(cls, judged: Feasibility, storage: StorageOutputs, infrastructure: Infrastructure) -> Made | None:
        """None where preflight did not run: then nothing was made."""
        if judged.judged_at is None:
            return None
        return cls(
            preflight=judged.rows,
            judged_at=judged.judged_at,
            plans={"storage": storage.plan or NOT_PLANNED, "cluster": infrastructure.plan or NOT_PLANNED},
            price=judged.cost,
            engine_version=judged.engine_version,
        )


class ReleaseRecord(Record):
    """One release as it was applied. Documents hold no secret: they name Secrets."""

    release: Release
    documents: tuple[dict[str, Any], ...]
    rollout: Rollout | None = None
    report: LoadReport | None = Field(None, description="the load validation it passed or failed")
    failure: Failure | None = Field(None, description="why it does not serve: the first cause there was")
    proven_by: LoadReport | None = Field(
        None, description="the last load validation it passed; kept when it is rolled out again"
    )
    answers: AnswersReport | None = Field(
        None, description="what it answered to the golden prompts when it was proven last; kept likewise"
    )
    paired: Paired | None = Field(
        None,
        description="what it was beside the release before it, where both were asked in pairs; kept likewise",
    )
    wrong_answers: AnswersReport | None = Field(None, description="answers by which it failed")
    sweep: Sweep | None = Field(None, description="its knee; kept likewise")
    made_from: str | None = Field(
        None,
        description="the commit of the project's files that its last rollout was made from, where that is known",
    )
    approval: Approval | None = Field(None, description="who let it into a protected environment")
    weights: WeightsChoice | None = Field(
        None, description="how its weights come to the replicas, and why where Slipway chose"
    )
    starts: tuple[Start, ...] = Field((), description="how long its starts took, oldest first")

    def with_start(self, start: Start) -> ReleaseRecord:
        """Add a start; the same start (of the same pod) is kept once."""
        others = [one for one in self.starts if one.at != start.at]
        start = start.after(others)
        ordered = sorted([*others, start], key=lambda one: one.at)
        return self.model_copy(update={"starts": tuple(ordered[-MOST_STARTS:])})

    @property
    def evidence(self) -> LoadReport | None:
        """Its last load validation; the last one it passed, where a newer one was interrupted."""
        return self.report or self.proven_by

    @property
    def endpoint(self) -> Endpoint:
        """Where the release answers. Raises RolloutFailed for one that has not passed its gate."""
        if self.rollout is None:
            raise RolloutFailed(f"release {self.release.id} has not passed its gate")
        return self.rollout.endpoint

    @property
    def expected_start(self) -> float | None:
        """Seconds from the decision to Ready, as the newest start from zero took, or else the newest of all."""
        newest = max(self.starts, key=lambda one: (one.cause in FROM_ZERO, one.at), default=None)
        if newest is None:
            return None
        return sum(took for name, took in newest.phases.items() if name != "first token")

    def last_start(self, cause: str) -> Start | None:
        """The newest start that had this cause."""
        return max((one for one in self.starts if one.cause == cause), key=lambda one: one.at, default=None)


class Deployed(Record):
    """What a deploy or promotion ended with: the proven release, its page in S3, and what the environment costs an hour."""

    record: ReleaseRecord
    page: str = ""
    cost: str = ""
    output_cost: str = ""
    seconds: dict[str, float] = Field(
        default_factory=dict, description="of the run: whole, the engine's start, the load, Slipway's own"
    )
