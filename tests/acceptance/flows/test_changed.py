"""`slipway ci changed` in a git repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.ci.changed import changed_files
from flows.cli import main
from tasks.records.errors import InputError
from tests.support.builders import ROOT
from tests.support.repository import commit, git


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository whose project is a folder of it, with a branch that was left behind by main."""
    project = tmp_path / "serving"
    shutil.copytree(ROOT / "environments", project / "environments")
    (project / "models").mkdir()
    for model in ("llama-3-1-8b-instruct", "tiny-llama"):
        shutil.copy(ROOT / "models" / f"{model}.yaml", project / "models")
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    commit(tmp_path, "first")
    git(tmp_path, "tag", "base")
    git(tmp_path, "checkout", "--quiet", "-b", "change")
    (project / "models" / "tiny-llama.yaml").rename(project / "models" / "small-llama.yaml")
    (project / "wïde name.txt").write_text("x")
    (tmp_path / "beside.txt").write_text("x")
    commit(tmp_path, "change")
    git(tmp_path, "checkout", "--quiet", "main")
    (project / "environments" / "staging.yaml").unlink()
    commit(tmp_path, "meanwhile")
    git(tmp_path, "checkout", "--quiet", "change")
    return project


def test_what_main_changed_meanwhile_is_not_of_the_change(checkout: Path) -> None:
    assert changed_files(checkout, "main", "HEAD") == [
        "models/small-llama.yaml",
        "models/tiny-llama.yaml",
        "wïde name.txt",
    ]


@pytest.mark.parametrize("base", ["0" * 40, "--output=x", "nowhere"])
def test_a_commit_that_is_not_there_is_told(checkout: Path, base: str) -> None:
    with pytest.raises(InputError, match=f"git cannot compare {base} with HEAD") as caught:
        changed_files(checkout, base, "HEAD")
    assert caught.value.evidence
    assert "fetch-depth: 0" in str(caught.value.next_command)


def test_a_git_that_does_not_answer_is_told(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.ci.changed.GIT_SECONDS", 0.0)
    with pytest.raises(InputError, match="git did not compare main with HEAD within 0 s") as caught:
        changed_files(checkout, "main", "HEAD")
    assert "diff --name-only main...HEAD" in str(caught.value.next_command)


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ((), json.dumps([{"model": "llama-3-1-8b-instruct", "environment": "staging"}, {"model": "tiny-llama", "environment": "staging"}])),
        (("--format", "lines"), "llama-3-1-8b-instruct staging\ntiny-llama staging"),
        # a sandbox is nobody's but where it is asked for
        (("-e", "sandbox"), "[]"),
    ],
)  # fmt: skip
def test_the_command_prints_a_matrix(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], printed: str
) -> None:
    git(checkout, "checkout", "--quiet", "base")
    staging = checkout / "environments" / "staging.yaml"
    staging.write_text(staging.read_text() + "tags: {cost-centre: ml}\n")
    commit(checkout, "tag")
    monkeypatch.setenv("SLIPWAY_HOME", str(checkout))
    done = CliRunner().invoke(main, ["ci", "changed", "--base", "base", *words])
    assert (done.exit_code, done.output.strip()) == (0, printed)
