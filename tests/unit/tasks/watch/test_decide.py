"""What is done about the newest commit: which are judged, and which were decided about before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.records.errors import InputError
from tasks.records.watching import MOST_WATCHED, HubCommit, Outcome, Watched, WatchedCommits, WatchSettings
from tasks.watch.decide import basis_of, decide, watched, with_serving_adapters
from tests.support.builders import a_model
from tests.support.reports import a_release

OLD, NEW = "a" * 40, "b" * 40
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def known(commit: str, outcome: Outcome, basis: str = "x") -> WatchedCommits:
    one = Watched(commit=commit, basis=basis, outcome=outcome, reasons=("licence: none",), at=NOW)
    return WatchedCommits(commits=(one,))


@pytest.mark.parametrize(
    ("newest", "before", "again", "act", "why"),
    [
        (NEW, WatchedCommits(), False, True, "is new"),
        (OLD, WatchedCommits(), False, False, "serves"),
        (OLD, WatchedCommits(), True, False, "serves"),
        (NEW, known(NEW, "refused"), False, False, "was refused at 2026-01-01 00:00 UTC: licence: none"),
        (NEW, known(NEW, "failed"), False, False, "was not proven"),
        (NEW, known(NEW, "proven"), False, False, "another release was put back since"),
        (NEW, known(NEW, "refused"), True, True, "is new"),
        (NEW, known(NEW, "refused", basis="y"), False, True, "is new"),  # the policy is another one
        (NEW, known(OLD, "proven"), False, True, "is new"),
    ],
)
def test_a_commit_is_decided_about_once(
    newest: str, before: WatchedCommits, again: bool, act: bool, why: str
) -> None:
    decision = decide(newest, OLD, before, "x", again)
    assert decision.act is act
    assert why in decision.why


def test_what_serves_is_remembered_so_that_a_rollback_from_it_stays() -> None:
    assert decide(OLD, OLD, WatchedCommits(), "x").remember
    assert not decide(OLD, OLD, known(OLD, "proven"), "x").remember
    assert not decide(NEW, OLD, known(OLD, "proven"), "x").remember


def test_a_decision_depends_on_the_models_file_and_the_policy_and_not_on_the_schedule() -> None:
    model, policy = a_model(), WatchSettings()
    assert basis_of(model, policy) == basis_of(model, WatchSettings(cron="* * * * *"))
    assert basis_of(model, policy) != basis_of(model, WatchSettings(growth=3))
    assert basis_of(model, policy) != basis_of(a_model(answers={}), policy)


def test_a_commit_is_kept_once_and_the_newest_are_kept() -> None:
    kept = WatchedCommits()
    for number in range(MOST_WATCHED + 5):
        kept = kept.after(Watched(commit=f"{number:040x}", basis="x", outcome="refused", at=NOW))
    assert len(kept.commits) == MOST_WATCHED
    assert kept.commits[-1].commit == f"{MOST_WATCHED + 4:040x}"
    again = kept.after(kept.commits[0].model_copy(update={"outcome": "failed"}))
    assert len(again.commits) == MOST_WATCHED
    assert again.commits[-1].outcome == "failed"


def test_the_seconds_begin_with_the_commit() -> None:
    newest = HubCommit(repo="a/b", commit=NEW, files=(), committed_at=NOW)
    found = watched(
        newest, "x", "proven", NOW + timedelta(seconds=20), NOW + timedelta(seconds=50), ["all well"]
    )
    assert found.seconds == {"noticed": 20.0, "proven": 30.0}
    dateless = newest.model_copy(update={"committed_at": None})
    assert watched(dateless, "x", "failed", NOW, NOW).seconds == {"failed": 0.0}


def test_adapters_stay_at_the_commits_that_serve() -> None:
    lora = {"name": "support", "repo": "acme/support"}
    serving = a_release()
    engine = serving.engine.model_copy(
        update={"lora": a_model(engine={"lora": [{**lora, "revision": OLD}]}).engine.lora}
    )
    serving = serving.model_copy(update={"engine": engine})
    [one] = with_serving_adapters(a_model(engine={"lora": [lora]}), serving).engine.lora
    assert one.revision == OLD
    with pytest.raises(InputError, match="the adapter other of llama does not serve"):
        with_serving_adapters(a_model(engine={"lora": [{**lora, "name": "other"}]}), serving)


def test_a_commit_cannot_be_followed() -> None:
    with pytest.raises(ValueError, match="never moves"):
        a_model(source={"repo": "a/b", "revision": OLD, "follow": True})
    assert a_model(source={"repo": "a/b", "follow": True}).source.follow
