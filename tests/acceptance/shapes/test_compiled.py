"""What vLLM compiled is kept on the model's volume: used again by equal starts, by no other, and the ledger has the time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import yaml

from tasks.releases.ledger import Ledger
from tasks.releases.records import Start
from tests.support.builders import ROOT
from tests.support.project import BUCKET, ENVIRONMENT, Project, edit

MODEL = "tiny-compiled"
IDLE_SECONDS = 120.0
LOADED = "Directly load the compiled graph(s) for compile range"
KEPT = "Cache the graph of compile range"


@pytest.fixture(scope="module")
def compiled(project: Project) -> Iterator[Project]:
    document = yaml.safe_load((ROOT / "models" / "tiny-llama.yaml").read_text())
    document |= {"name": MODEL}
    document["scaling"]["idle_after"] = "2s"
    del document["objectives"]  # what is kept does not depend on speed, and a busy machine has none
    (project.home / "models" / f"{MODEL}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    done = project.deploy(MODEL).succeeded()
    assert "what it compiled is kept for the next start (key " in done.output
    yield project


def log(project: Project) -> str:
    """Of the one pod that serves."""
    found = project.get("/api/v1/namespaces/llm/pods", labelSelector=f"slipway.dev/model={MODEL}")["items"]
    (pod,) = [one for one in found if "deletionTimestamp" not in one["metadata"]]
    with project.api() as api:
        return api.get(f"/api/v1/namespaces/llm/pods/{pod['metadata']['name']}/log").raise_for_status().text


def last_start(project: Project) -> Start:
    ledger = Ledger(project.client("s3"), BUCKET, ENVIRONMENT, MODEL)
    serving = ledger.serving().serving
    assert serving
    return max(ledger.record(serving).starts, key=lambda one: one.at)


def key(start: Start) -> str:
    assert start.compile_cache
    return start.compile_cache.key


def test_a_wake_uses_what_the_first_start_compiled(compiled: Project) -> None:
    first = last_start(compiled)
    assert KEPT in log(compiled)
    end = time.monotonic() + IDLE_SECONDS
    while "scaled to zero" not in compiled.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output:
        assert time.monotonic() < end
    woken = compiled.run("wake", MODEL, "-e", ENVIRONMENT).succeeded().output
    assert f"compiled code of an earlier start is used again (key {key(first)})" in woken
    assert LOADED in log(compiled)
    second = last_start(compiled)
    assert second.at > first.at
    assert second.saved == pytest.approx(first.phases["compile"] - second.phases["compile"])


def test_another_flag_compiles_anew_and_a_rollback_uses_its_own(compiled: Project) -> None:
    before = key(last_start(compiled))
    edit(compiled.home / "models" / f"{MODEL}.yaml", {"engine": {"max_num_seqs": 7}})
    assert "what it compiled is kept for the next start" in compiled.deploy(MODEL).succeeded().output
    assert KEPT in log(compiled)
    assert key(last_start(compiled)) != before
    compiled.run("rollback", MODEL, "-e", ENVIRONMENT).succeeded()
    assert LOADED in log(compiled)
    assert f"slipway: compile cache {before}: used again" in log(compiled)


def test_who_keeps_nothing_says_why(compiled: Project) -> None:
    edit(compiled.home / "models" / f"{MODEL}.yaml", {"cache": {"compile": "0"}})
    assert "no compile cache: cache.compile is 0" in compiled.deploy(MODEL).succeeded().output
