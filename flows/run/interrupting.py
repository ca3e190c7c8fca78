"""Drill what interrupts: sleep and wake, rollback and return. Only where nobody uses the model; what is changed is put back."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from tasks.drill.task import No, may_interrupt, not_drilled, previous_release
from tasks.idle.task import judge_idle, replicas_from_zero, replicas_to_zero
from tasks.infra.task import gpu_nodes, no_gpu_nodes
from tasks.records.drills import Drilled, DrillStep, Promise
from tasks.records.errors import Interrupted, SlipwayError
from tasks.records.model import Model
from tasks.records.stop import STOP
from tasks.releases.records import ReleaseRecord
from tasks.rollout.task import confirm, put_back
from tasks.site import Site

# evidence of a wake that failed once no replica was left
DOWN = "the model, which nobody used, is down: its replicas are asked for, and it answers once the cause is ended"


class InUse(Exception):
    """Somebody uses the model after all: that neither proves nor breaks a promise."""


def drill_unused(site: Site, model: Model, record: ReleaseRecord, wanted: list[Promise]) -> list[Drilled]:
    """What interrupts: only where nobody uses the model, which is judged once, since the drill itself asks it too."""
    release, found = record.release.id, list[Drilled]()
    idle = judge_idle(site, model)
    for promise in wanted:
        if any(one.outcome == "broken" for one in found):
            found.append(not_drilled(promise, No("not now", "the wake before it failed"), release))
        elif no := may_interrupt(site, model, promise, idle):
            found.append(not_drilled(promise, no, release))
        elif promise == "wake":
            woken = seen_to_act(promise, release, lambda step: sleep_and_wake(site, model, step))
            down = woken.outcome == "broken" and woken.steps
            found.append(woken.model_copy(update={"evidence": (*woken.evidence, DOWN)}) if down else woken)
        else:
            found.append(
                seen_to_act(promise, release, lambda step: back_and_forth(site, model, record, step))
            )
    return found


def sleep_and_wake(site: Site, model: Model, step: Callable[[str], None]) -> None:
    """No replica and no node, and then an answer."""
    try:
        down = replicas_to_zero(site, model)
        if not down.asleep:
            raise InUse("a request woke it before it slept")
        if not down.holders:
            no_gpu_nodes(site)
            step("no replica and no GPU node is left")
        else:
            step("no replica is left")
        gpu_nodes(site, model)
        replicas_from_zero(site, model)
        step("a GPU node is Ready")
        confirm(site, model, "wake")
        step("it answers")
    except BaseException:
        # whatever went wrong: KEDA is in charge again, and a pod asks for a node
        if STOP.reason != "lost":
            replicas_from_zero.fn(site, model)
        raise


def back_and_forth(site: Site, model: Model, record: ReleaseRecord, step: Callable[[str], None]) -> None:
    """The release before, and then this one again."""
    before, now = previous_release(site, model), record.release.id
    try:
        put_back(site, model, before)
        confirm(site, model, "rollback")
        step(f"release {before} answers")
    except (Exception, KeyboardInterrupt):
        if STOP.reason != "lost":
            STOP.clear()
            put_back(site, model, now)
        raise
    put_back(site, model, now)
    confirm(site, model, "rollback")
    step(f"release {now} answers again")


def seen_to_act(promise: Promise, release: str, act: Callable[[Callable[[str], None]], None]) -> Drilled:
    """Run `act`, which says each state it has reached; what fails in it is why the promise is broken."""
    began, steps = time.monotonic(), list[DrillStep]()

    def step(what: str) -> None:
        steps.append(DrillStep(what=what, seconds=round(time.monotonic() - began, 1)))

    try:
        act(step)
    except InUse as busy:
        return not_drilled(promise, No("not now", str(busy)), release)
    except Interrupted:
        raise
    except SlipwayError as failure:
        return Drilled.broken(promise, release, tuple(steps), failure)
    return Drilled(promise=promise, outcome="kept", at=datetime.now(UTC), release=release, steps=tuple(steps))
