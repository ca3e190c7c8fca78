"""The ready workflow files in ci/: by the schemas of GitHub and GitLab, by rules of our own, and by our command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from yamllint import linter
from yamllint.config import YamlLintConfig

from flows.cli import main
from tests.support.builders import ROOT

GITHUB = sorted((ROOT / "ci" / "github").glob("*.yml"))
GITLAB = ROOT / "ci" / "gitlab-ci.yml"
FILES = [*GITHUB, GITLAB]
LINT = YamlLintConfig(
    "{extends: default, rules: {line-length: {max: 130}, document-start: disable, truthy: {check-keys: false}}}"
)
PINNED = re.compile(r"uses: ([\w-]+/[\w-]+)@([0-9a-f]{40})  # v(\d+\.\d+\.\d+)$")
# stands for what a runner knows
VALUES = {
    "MODEL": "tiny-llama", "model": "tiny-llama", "ENVIRONMENT": "staging", "environment": "staging",
    "STAGING": "staging", "SHA": "a" * 40, "CI_COMMIT_SHA": "a" * 40, "BASE": "b" * 40,
    "CI_MERGE_REQUEST_DIFF_BASE_SHA": "b" * 40, "CI_COMMIT_BEFORE_SHA": "b" * 40,
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_has_the_shape_its_system_asks_for(path: Path) -> None:
    schema = "vendor.gitlab-ci" if path == GITLAB else "vendor.github-workflows"
    words = ["--builtin-schema", schema, str(path)]
    if path == GITLAB:
        words = ["--data-transform", "gitlab-ci", *words]
    done = CliRunner().invoke(check_jsonschema, words)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_well_formed_yaml(path: Path) -> None:
    assert [str(problem) for problem in linter.run(path.read_text(), LINT)] == []


def test_an_action_is_pinned_to_one_commit_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in GITHUB:
        for line in path.read_text().splitlines():
            if "uses:" in line:
                found = PINNED.fullmatch(line.strip().removeprefix("- "))
                assert found, line
                pins.setdefault(found[1], set()).add(found[2])
    assert {name: len(commits) for name, commits in pins.items()} == dict.fromkeys(pins, 1)


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file, job, what it says) of each job of GitHub's."""
    for path in GITHUB:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield path.stem, name, job


def test_a_job_may_do_only_what_it_must() -> None:
    for path in GITHUB:
        assert yaml.safe_load(path.read_text())["permissions"] == {}
    assert {f"{file}/{name}": job["permissions"] for file, name, job in jobs()} == {
        "deploy/changed": {"contents": "read"},
        "deploy/deploy": {"contents": "read"},
        "preflight/changed": {"contents": "read"},
        "preflight/preflight": {"contents": "read", "id-token": "write"},
        "preflight/comment": {"pull-requests": "write"},
        "promote/promote": {"contents": "read"},
    }


def test_every_job_has_an_end() -> None:
    assert all(job["timeout-minutes"] <= 180 for _, _, job in jobs())


def test_a_deploy_that_runs_is_never_cancelled_by_the_next() -> None:
    deploy = yaml.safe_load((ROOT / "ci/github/deploy.yml").read_text())["jobs"]["deploy"]
    promote = yaml.safe_load((ROOT / "ci/github/promote.yml").read_text())
    assert deploy["concurrency"]["cancel-in-progress"] is False
    assert promote["concurrency"]["cancel-in-progress"] is False
    gitlab = yaml.safe_load(GITLAB.read_text())
    assert gitlab["default"]["interruptible"] is False
    assert all("resource_group" in gitlab[job] for job in ("deploy", "promote"))


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.name)
def test_no_text_of_others_becomes_part_of_a_script(path: Path) -> None:
    scripts = [script for _, script in scripts_of(path)]
    assert scripts
    assert not any("${{" in script for script in scripts)


def scripts_of(path: Path) -> Iterator[tuple[str, str]]:
    """(job, script) of every step."""
    document = yaml.safe_load(path.read_text())
    if path == GITLAB:
        for name, job in document.items():
            if isinstance(job, dict) and "script" in job:
                yield from ((name, text) for text in [*job.get("before_script", ()), *job["script"]])
    else:
        for name, job in document["jobs"].items():
            yield from ((name, step["run"]) for step in job["steps"] if "run" in step)


def command_lines() -> Iterator[tuple[str, str]]:
    for path in FILES:
        for job, script in scripts_of(path):
            for line in script.splitlines():
                if found := re.search(r"(?:^|[\s(])(slipway .*)", line):
                    yield f"{path.name}/{job}", re.split(r"\)$| \|\| | \| | 2?[<>]", found[1])[0]


LINES = list(command_lines())


def test_the_files_call_what_they_are_for() -> None:
    assert sorted({" ".join(line.split()[:3]) for _, line in LINES}) == [
        "slipway ci changed",
        "slipway ci deploy",
        "slipway ci promote",
        'slipway preflight "$MODEL"',
        'slipway preflight "$model"',
    ]


@pytest.mark.parametrize(("job", "line"), LINES)
def test_every_command_line_parses(job: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
    words = shlex.split(re.sub(r"\$(\w+)", lambda found: VALUES[found[1]], line))
    command: click.Command = main
    context = click.Context(main)
    left = words[1:]
    while isinstance(command, click.Group):
        name, found, left = command.resolve_command(context, left)
        assert name and found
        command, context = found, click.Context(found, parent=context)
    command.make_context(words[0], left)


def test_a_command_line_with_an_unknown_option_would_be_seen() -> None:
    with pytest.raises(click.UsageError):
        test_every_command_line_parses("", "slipway ci changed --basis $BASE", pytest.MonkeyPatch())
