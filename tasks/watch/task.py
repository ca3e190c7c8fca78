"""Watching the hub as Prefect tasks: what was decided about commits before, and what is decided now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tasks.records.model import Model
from tasks.records.results import HubInspection, Release
from tasks.records.watching import HubCommit, Outcome, Watched
from tasks.releases.task import ledger_of
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, show_table, task
from tasks.watch.decide import Decision, basis_of, decide, watched, with_serving_adapters
from tasks.watch.policy import judge_contents, judge_listing


@task(task_run_name="is {newest.commit} of {model.name} to be judged", **SETTINGS)
def decide_watched(site: Site, model: Model, newest: HubCommit, serving: str, again: bool) -> Decision:
    """Whether the newest commit was decided about before; it is said either way."""
    basis = basis_of(model, site.environment.watch)
    decision = decide(newest.commit, serving, ledger_of(site, model).watched(), basis, again)
    RunReporter("watch").say(f"{model.name}: {decision.why}")
    return decision


def pinned(model: Model, serving: Release) -> Model:
    """The model with its adapters at the commits that serve. Raises InputError where one does not serve."""
    return with_serving_adapters(model, serving)


@task(task_run_name="what the hub lists of {new.commit}", **SETTINGS)
def judge_commit(site: Site, model: Model, new: HubCommit, proven: HubCommit | None) -> list[str]:
    """Why the commit may not come in, by what the hub lists; empty where it may."""
    return judge_listing(site.environment.watch, model.source.repo, new, proven)


@task(task_run_name="what is in {new.model.commit}", **SETTINGS)
def judge_model(new: HubInspection, proven: HubInspection) -> list[str]:
    """Why the commit may not come in, by its configuration and headers; empty where it may."""
    return judge_contents(new, proven)


@task(task_run_name="keep what became of {newest.commit}", **SETTINGS)
def keep_watched(
    site: Site,
    model: Model,
    newest: HubCommit,
    outcome: Outcome,
    began: datetime,
    reasons: Sequence[str] = (),
    release: str | None = None,
    spent: Mapping[str, float] | None = None,
) -> Watched:
    """Write it into the ledger, and show it beside the others.

    Args:
        began: when this run noticed the commit.
        spent: seconds of the deploy by whose they were.
    """
    ledger = ledger_of(site, model)
    basis = basis_of(model, site.environment.watch)
    one = watched(newest, basis, outcome, began, datetime.now(UTC), reasons)
    one = one.model_copy(update={"release": release, "seconds": {**one.seconds, **(spent or {})}})
    ledger.keep_watched(one)
    rows = [
        {
            "commit": known.commit,
            "outcome": known.outcome,
            "at": f"{known.at:%Y-%m-%d %H:%M:%S}",
            "release": known.release or "",
            "why": "; ".join(known.reasons),
            "seconds": ", ".join(f"{name} {seconds:.1f}" for name, seconds in known.seconds.items()),
        }
        for known in reversed(ledger.watched().commits)
    ]
    show_table(
        f"watch-{model.name}", rows, f"{one.commit[:12]} of {model.name} on {site.name}: {one.outcome}"
    )
    return one
