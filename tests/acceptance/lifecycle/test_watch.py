"""New commits of a followed model: a hostile one is refused with nothing made, the newest honest one is proven, each is judged once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from slipway_sandbox.testing import Faults

from tasks.records.watching import Watched
from tasks.releases.ledger import Ledger
from tests.support.project import BUCKET, ENVIRONMENT, Project
from tests.support.published import Publish, publishing, staged

pytestmark = pytest.mark.long

INPUT, ROLLOUT = 2, 1
WATCH = ("watch", "-e", ENVIRONMENT)


def watched(project: Project) -> list[Watched]:
    return list(Ledger(project.client("s3"), BUCKET, ENVIRONMENT, "tiny-llama").watched().commits)


@pytest.fixture(scope="module")
def publish(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publish]:
    with publishing(project, tmp_path_factory.mktemp("hub")) as commit:
        yield commit


def test_the_commit_that_serves_is_nothing_new(publish: Publish, project: Project) -> None:
    done = project.run(*WATCH).succeeded()
    assert "no followed model has a commit to decide about" in done.output
    assert [(one.commit, one.outcome) for one in watched(project)] == [(project.commit(), "proven")]


def test_a_hostile_commit_is_refused_once_and_nothing_is_made_of_it(
    publish: Publish, project: Project
) -> None:
    before = project.serving()
    hostile = publish(1, {"modeling_tiny.py": "import os\n"})
    done = project.run(*WATCH).succeeded()
    assert f"tiny-llama in {ENVIRONMENT}: {hostile[:12]} refused" in done.output
    assert "remote code: new or changed: modeling_tiny.py" in done.output
    assert "terraform" not in done.output
    assert staged(project, hostile) == 0
    assert project.serving() == before
    again = project.run(*WATCH).succeeded()
    assert f"{hostile[:12]} was refused at" in again.output
    assert "no followed model has a commit to decide about" in again.output
    assert [one.commit for one in watched(project)].count(hostile) == 1


def original_of(project: Project) -> Path:
    """config.json as it is published at first."""
    return next(iter(project.sandbox.root.glob("hub/models/*/tiny-llama/main/config.json")))


def test_a_commit_of_another_architecture_is_refused_before_it_is_staged(
    publish: Publish, project: Project
) -> None:
    config = json.loads(original_of(project).read_text()) | {"architectures": ["MistralForCausalLM"]}
    hostile = publish(2, {"config.json": json.dumps(config)})
    done = project.run(*WATCH).succeeded()
    assert "architecture: architectures is ['MistralForCausalLM']" in done.output
    assert staged(project, hostile) == 0


def test_only_the_newest_of_several_commits_is_taken_to_a_proof(publish: Publish, project: Project) -> None:
    passed, newest = publish(3), publish(4)
    done = project.run(*WATCH).succeeded()
    assert project.commit() == newest
    assert project.complete()
    assert staged(project, passed) == 0
    assert staged(project, newest) > 0
    told = re.search(
        rf"{newest[:12]} proven: release (\w+) \(noticed after ([\d.]+) s, proven after ([\d.]+) s\)",
        done.output,
    )
    assert told
    spent = re.search(r"in all: (.+) engine's start, (.+) load, (.+) Slipway's own", done.output)
    assert spent
    print(f"commit to proven endpoint: noticed {told[2]} s, proven {told[3]} s; {spent[0]}")
    (kept,) = [one for one in watched(project) if one.commit == newest]
    assert kept.seconds["whole"] == pytest.approx(
        kept.seconds["engine"] + kept.seconds["load"] + kept.seconds["own"]
    )
    assert kept.seconds["engine"] > 0
    assert kept.seconds["load"] >= 3.5  # warm-up and window of tests/support/project.py
    page = project.run("evidence", "tiny-llama", "-e", ENVIRONMENT).succeeded().output
    assert newest in page


def test_a_commit_that_fails_is_put_back_and_not_tried_again(
    publish: Publish, project: Project, faults: Faults
) -> None:
    before = project.serving().serving
    failing = publish(5)
    faults.set("engine-oom", count=1)
    project.run(*WATCH).refused(ROLLOUT, "error: ")
    assert (project.serving().serving, project.serving().rolling) == (before, None)
    assert project.complete()
    done = project.run(*WATCH).succeeded()
    assert f"{failing[:12]} was not proven at" in done.output
    assert project.serving().serving == before
    assert [(one.commit, one.outcome) for one in watched(project)][-1] == (failing, "failed")


def test_a_rollback_from_a_followed_commit_stays(publish: Publish, project: Project) -> None:
    newest = publish(6)
    project.run(*WATCH).succeeded()
    assert project.commit() == newest
    project.run("rollback", "tiny-llama", "-e", ENVIRONMENT).succeeded()
    back = project.commit()
    assert back != newest
    done = project.run(*WATCH).succeeded()
    assert "another release was put back since" in done.output
    assert project.commit() == back


def test_a_model_that_is_not_followed_is_refused(publish: Publish, project: Project) -> None:
    project.run("watch", "tiny-embedding", "-e", ENVIRONMENT).refused(INPUT, "is not followed")
