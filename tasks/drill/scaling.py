"""Drill the scaler: load until a second replica answers, and its end until replica and node are gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from tasks.cloud import objects
from tasks.cloud.waiting import REAL, Time
from tasks.drill.explain import explain, failed_requests
from tasks.drill.loading import Loading
from tasks.drill.observe import Details, Seen
from tasks.drill.scene import Finding, Scene
from tasks.drill.stages import Known, Stage, heavy, light, scaling_in, scaling_out, whole
from tasks.records.drills import Drilled, DrillStep, Outcome, Promise
from tasks.records.environment import Environment
from tasks.records.errors import SlipwayError, ValidationFailed
from tasks.records.model import Model
from tasks.records.reports import Measured

LOOK_SECONDS = 0.5


class Looks(Protocol):
    """What is drilled, and how it is looked at: observe.Place."""

    @property
    def environment(self) -> Environment: ...

    @property
    def model(self) -> Model: ...

    def look(self, at: float) -> Seen: ...

    def details(self, second: str | None) -> Details: ...


class NotReached(Exception):
    """A stage was not reached by its deadline."""

    def __init__(self, stage: Stage, known: Known, seen: Seen) -> None:
        super().__init__(stage.key)
        self.stage, self.known, self.seen = stage, known, seen


@dataclass
class Watch:
    """Go through stages one after the other, each within its own seconds, and keep when each was reached."""

    place: Looks
    known: Known
    say: Callable[[str], None]
    time: Time = REAL
    steps: list[DrillStep] = field(default_factory=list)
    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.time.clock()

    def through(self, stages: Sequence[Stage], also: Callable[[], object] = lambda: None) -> None:
        """Raises NotReached. `also` is called at each look, and what it raises ends the watch."""
        for stage in stages:
            deadline = self.time.clock() + stage.seconds
            while True:
                also()
                seen = self.place.look(self.time.clock())
                self.known = self.known.after(seen)
                if stage.reached(self.known, seen):
                    break
                if self.time.clock() >= deadline or stage.hopeless(self.known, seen):
                    raise NotReached(stage, self.known, seen)
                self.time.sleep(LOOK_SECONDS)
            if stage.key == "service":
                self._count_answers()
            seconds = round(self.time.clock() - self.began, 1)
            self.steps.append(DrillStep(what=stage.what, seconds=seconds))
            self.say(f"{stage.what} ({seconds:.0f} s)")

    def _count_answers(self) -> None:
        """What the replica has answered by now, its start-up probe's questions among it: once a scrape has them for sure."""
        self.time.sleep(2 * self.place.environment.scrape_interval + 1)
        self.known = self.known.having_answered(self.place.look(self.time.clock()))


@dataclass(frozen=True)
class ScalingDrill:
    """The scale-out and scale-in of one release."""

    place: Looks
    release: str
    loading: Loading
    say: Callable[[str], None]
    time: Time = REAL

    def run(self, loads_within: float, wanted: Sequence[Promise]) -> list[Drilled]:
        """Scale out and in; those of `wanted`. A scale-in follows each scale-out, so that what was changed goes back."""
        seen = self.place.look(self.time.clock())
        known = Known(
            environment=self.place.environment,
            model=self.place.model,
            first=frozenset(objects.name(pod) for pod in seen.pods),
            nodes=frozenset(seen.nodes),
        )
        watch = Watch(self.place, known, self.say, self.time)
        out = self._scale_out(watch, scaling_out(self.place.model, self.place.environment, loads_within))
        found = [out]
        if out.outcome == "kept":
            found.append(self._scale_in(Watch(self.place, watch.known, self.say, self.time)))
        return [one for one in found if one.promise in wanted]

    def _scale_out(self, watch: Watch, stages: Sequence[Stage]) -> Drilled:
        try:
            # without load first: what would keep it from acting is told before anything is sent
            watch.through(stages[:1])
            with self.loading("out", heavy(self.place.model, whole(stages[1:]))) as job:
                watch.through(stages[1:], job.look)
        except NotReached as missed:
            return self._missed("scale-out", watch, missed)
        except ValidationFailed as failure:
            return self._not_loaded("scale-out", watch, failure)
        return self._result("scale-out", "kept", watch)

    def _scale_in(self, watch: Watch) -> Drilled:
        stages = scaling_in(self.place.model, self.place.environment)
        pods = [stage for stage in stages if stage.key != "node gone"]
        try:
            # from here on a request that fails is one that a replica which goes has cut
            with self.loading("in", light(self.place.model, self._lightly(pods))) as job:
                watch.through(pods, job.look)
                measured = job.measured()
            if measured.failures:
                scene = self._scene(NotReached(pods[-1], watch.known, self.place.look(self.time.clock())))
                if finding := failed_requests(scene, measured.failures, measured.requests):
                    return self._result("scale-in", "broken", watch, finding)
            self._count(watch, measured)
            watch.through(stages[len(pods) :])
        except NotReached as missed:
            return self._missed("scale-in", watch, missed)
        except ValidationFailed as failure:
            return self._not_loaded("scale-in", watch, failure)
        return self._result("scale-in", "kept", watch)

    def _lightly(self, stages: Sequence[Stage]) -> float:
        """Seconds of the light load: until the replica has gone at the latest that is to be expected, without slack."""
        scaling, engine = self.place.model.scaling, self.place.model.engine
        return min(whole(stages), scaling.cooldown + 45.0 + engine.drain + engine.shutdown_timeout)

    def _count(self, watch: Watch, measured: Measured) -> None:
        seconds = round(self.time.clock() - watch.began, 1)
        watch.steps.append(DrillStep(what=f"{measured.requests} requests, none failed", seconds=seconds))

    def _scene(self, missed: NotReached) -> Scene:
        return Scene(missed.stage.key, missed.known, missed.seen, self.place.details(missed.known.second))

    def _missed(self, promise: Promise, watch: Watch, missed: NotReached) -> Drilled:
        finding = explain(self._scene(missed))
        evidence = (
            *(f"{step.what} after {step.seconds:.0f} s" for step in watch.steps),
            f"not within {missed.stage.seconds:.0f} s: {missed.stage.what}",
            *finding.evidence,
        )
        return self._result(
            promise, "broken" if finding.tells else "not now", watch, replace(finding, evidence=evidence)
        )

    def _not_loaded(self, promise: Promise, watch: Watch, failure: SlipwayError) -> Drilled:
        """A generator that fails says nothing about the scaler."""
        finding = Finding(
            f"the drill's load ended: {failure.cause}",
            failure.next_command or "",
            tuple(failure.evidence),
            tells=False,
        )
        return self._result(promise, "not now", watch, finding)

    def _result(
        self, promise: Promise, outcome: Outcome, watch: Watch, finding: Finding | None = None
    ) -> Drilled:
        return Drilled(
            promise=promise,
            outcome=outcome,
            at=datetime.now(UTC),
            release=self.release,
            steps=tuple(watch.steps),
            cause=finding.cause if finding else "",
            evidence=finding.evidence if finding else (),
            next_command=finding.next_command if finding else "",
        )
