"""ci/github/deploy.yml, run by a stand-in for GitHub's runner against a real server and worker."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.builders import ROOT
from tests.support.platform import Platform, eventually
from tests.support.repository import commit, git
from tests.support.runner import Ran, Runner
from tests.support.standin.world import Serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

WORKFLOW = ROOT / "ci" / "github" / "deploy.yml"
PUT_BACK = Serving(live="r0", serving="r0", rolling=None)
PROVEN = Serving(live="r1", serving="r1", rolling=None)
Push = Callable[[], Runner]


@pytest.fixture
def checkout(platform: Platform) -> Iterator[Path]:
    """The worker's checkout, which is CI's origin, too."""
    project = platform.folder / "project"
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, project / name)
    (project / ".gitignore").write_text("__pycache__/\n")
    model = project / "models" / "tiny-llama.yaml"
    before = model.read_text()
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project, "first")
    yield project
    model.write_text(before)
    shutil.rmtree(project / ".git")


@pytest.fixture
def push(platform: Platform, checkout: Path, tmp_path: Path) -> Push:
    """The workflow for the push that brought the last commit."""

    def pushed() -> Runner:
        sha, before = git(checkout, "rev-parse", "HEAD"), git(checkout, "rev-parse", "HEAD~1")
        contexts = {
            "github": {"sha": sha, "event": {"before": before}},
            "vars": {"PREFECT_API_URL": platform.url},
            # one that is not set is empty, as on a server without a key
            "secrets": {"PREFECT_API_KEY": ""},
        }
        return Runner(WORKFLOW, tmp_path / "runner", checkout, contexts, {"STAGING": "sandbox"})

    return pushed


def merge(checkout: Path, file: str) -> str:
    """A commit on main that changes one file."""
    path = checkout / file
    path.write_text((path.read_text() if path.exists() else "") + "# changed\n")
    return commit(checkout, file)


def by_job(done: list[Ran]) -> dict[str, str]:
    return {one.job: one.result for one in done}


def test_a_merge_deploys_the_model_it_changed(platform: Platform, checkout: Path, push: Push) -> None:
    sha = merge(checkout, "models/tiny-llama.yaml")
    changed, deploy = push().run()
    assert (changed.result, deploy.result) == ("success", "success"), changed.log + deploy.log
    assert deploy.matrix == {"model": "tiny-llama", "environment": "sandbox"}
    assert "Proven: release" in deploy.log
    assert deploy.summary.startswith("## Proven")
    assert "[The run in Prefect](http://127.0.0.1" in deploy.summary
    [run] = [one for one in platform.runs_of("deploy") if one["id"] in deploy.log]
    assert {"ci", f"commit:{sha[:12]}"} <= set(run["tags"])
    assert platform.world.read() == PROVEN


def test_a_merge_that_touches_no_model_deploys_nothing(
    platform: Platform, checkout: Path, push: Push
) -> None:
    merge(checkout, "notes.txt")
    done = list(push().run())
    assert by_job(done) == {"changed": "success", "deploy": "skipped"}
    assert done[0].outputs == {"pairs": "[]"}
    assert platform.world.entries() == []


def test_a_job_whose_commit_was_overtaken_is_refused(platform: Platform, checkout: Path, push: Push) -> None:
    sha = merge(checkout, "models/tiny-llama.yaml")
    runner = push()
    newer = merge(checkout, "notes.txt")
    [_, deploy] = runner.run()
    assert (deploy.result, deploy.code) == ("failure", 2), deploy.log
    assert f"CI asks for commit {sha[:12]}, and this worker has {newer[:12]}" in deploy.log
    assert "CI asks for commit" in deploy.summary
    assert platform.world.entries() == []


def test_a_job_that_is_cancelled_cancels_its_run(platform: Platform, checkout: Path, push: Push) -> None:
    merge(checkout, "models/tiny-llama.yaml")
    platform.world.hold("rollout")
    runner = push()
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        platform.in_stage("rollout")
        runner.cancel()
    finally:
        thread.join(300)
    deploy = runner.done[-1]
    assert (deploy.result, deploy.code) == ("failure", 130), deploy.log
    [run] = [one for one in platform.runs_of("deploy") if one["id"] in deploy.log]
    assert run["state"]["type"] == "CANCELLED"
    eventually(lambda: platform.world.read() == PUT_BACK, "what served before is put back")
    platform.world.let_go()
