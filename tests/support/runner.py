"""Run a workflow file of ci/github as GitHub's runner does: jobs in their order, steps by bash, and a fixed list of actions.

What it does not know ends the run: an expression, a key of a job or a step, an action.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.builders import ROOT
from tests.support.expressions import STATUS, filled, holds
from tests.support.repository import git

JOB_KEYS = {
    "concurrency", "environment", "if", "needs", "outputs", "permissions", "runs-on", "steps", "strategy", "timeout-minutes",
}  # fmt: skip
STEP_KEYS = {"env", "id", "if", "name", "run", "uses", "with"}
# what `shell: bash` is: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
SLIPWAY = f"""#!/bin/sh
export PYTHONPATH={ROOT}:{ROOT}/sandbox PYTHONUNBUFFERED=1
exec {sys.executable} -c 'from flows.cli import main; main()' "$@"
"""
# the packages are those of the tests: installed is nothing, but what would be must be there
PIP = """#!/bin/sh
for word in "$@"; do case "$word" in requirements.lock) test -s "$word" || exit 1;; .) test -s pyproject.toml || exit 1;; esac; done
"""


# what GitHub would show: the comment, and for which pull request
GH = """#!/bin/sh
echo "$@" > "$HOME/comment.args"
while [ $# -gt 1 ]; do [ "$1" = --body-file ] && cp "$2" "$HOME/comment.md"; shift; done
"""


class UnknownPart(Exception):
    """A part of a workflow file that this runner does not know."""


@dataclass
class Ran:
    """One job: `result` as GitHub calls it, `code` of the step that ended it, what it printed and what it shows."""

    job: str
    matrix: Mapping[str, str]
    result: str = "success"
    code: int = 0
    log: str = ""
    summary: str = ""
    environment: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


class Runner:
    """Runs one workflow for one event.

    Args:
        contexts: `github`, `vars`, `secrets` and whatever else expressions may name.
        origin: the repository that actions/checkout clones.
        env: in place of the workflow's own, as its user would edit it; and what the runner's machine has.
        roles: the credentials, as variables, of each role that configure-aws-credentials may be asked for.
    """

    def __init__(
        self,
        workflow: Path,
        folder: Path,
        origin: Path,
        contexts: Mapping[str, Any],
        env: Mapping[str, str],
        roles: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.document = yaml.safe_load(workflow.read_text())
        assert self.document["defaults"] == {"run": {"shell": "bash"}}
        self.folder, self.origin, self.contexts = folder, origin, contexts
        self.roles = roles or {}
        self.credentials: Mapping[str, str] = {}
        self.env = {**self.document.get("env", {}), **env}
        self.done: list[Ran] = []
        self.step: subprocess.Popen[str] | None = None
        self.bin = put_programs(folder / "bin")

    def run(self) -> Sequence[Ran]:
        """Run every job once for each entry of its matrix; they stand below what they need."""
        for name, job in self.document["jobs"].items():
            _known(job, JOB_KEYS)
            needed = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
            needs = {each: self._needed(each) for each in needed}
            contexts = {**self.contexts, "needs": needs}
            condition = job.get("if", "")
            failed = any(one["result"] != "success" for one in needs.values())
            if (failed and not any(word in condition for word in STATUS)) or (
                condition and not holds(condition, contexts)
            ):
                self.done.append(Ran(name, {}, "skipped"))
                continue
            entries = filled(job.get("strategy", {}).get("matrix", {}).get("include", [{}]), contexts)
            for entry in entries:
                self._run_job(name, job, {**contexts, "matrix": entry})
        return self.done

    def cancel(self) -> None:
        """What a runner does first where a job is cancelled: SIGINT for the process of its step."""
        assert self.step
        self.step.send_signal(signal.SIGINT)

    def _needed(self, name: str) -> dict[str, Any]:
        ran = [one for one in self.done if one.job == name]
        results = {one.result for one in ran}
        result = next((bad for bad in ("failure", "skipped") if bad in results), "success")
        return {"result": result, "outputs": ran[-1].outputs}

    def _run_job(self, name: str, job: Mapping[str, Any], contexts: Mapping[str, Any]) -> None:
        self.credentials = {}
        ran = Ran(name, contexts.get("matrix", {}))
        self.done.append(ran)
        ran.environment = str(filled(job.get("environment", ""), contexts))
        # evaluated to be known; nothing else runs here that it could hold up
        for text in job.get("concurrency", {}).values():
            filled(text, contexts)
        workspace = self.folder / f"{len(self.done)}-{name}"
        workspace.mkdir()
        steps: dict[str, Any] = {}
        known = {**contexts, "steps": steps}
        for step in job["steps"]:
            _known(step, STEP_KEYS)
            condition = step.get("if", "")
            if ran.code and not any(word in condition for word in STATUS):
                continue
            if condition and not holds(condition, known):
                continue
            if "uses" in step:
                self._use(step, workspace, known, job["permissions"])
            else:
                code, outputs = self._run_step(step, workspace, known, ran, 60 * job["timeout-minutes"])
                ran.code = ran.code or code
                steps[step.get("id", "")] = {"outputs": outputs}
        ran.result = "failure" if ran.code else "success"
        if not ran.code:
            ran.outputs = {key: filled(text, known) for key, text in job.get("outputs", {}).items()}

    def _use(
        self,
        step: Mapping[str, Any],
        workspace: Path,
        known: Mapping[str, Any],
        permissions: Mapping[str, str],
    ) -> None:
        action = step["uses"].partition("@")[0]
        given = {name: filled(value, known) for name, value in step.get("with", {}).items()}
        artifacts = self.folder / "artifacts"
        if action == "actions/checkout":
            depth = [] if given.get("fetch-depth") == 0 else ["--depth", "1"]
            git(workspace, "init", "--quiet")
            git(workspace, "fetch", "--quiet", *depth, f"file://{self.origin}", known["github"]["sha"])
            git(workspace, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        elif action == "actions/setup-python":
            assert given["python-version"] == f"{sys.version_info.major}.{sys.version_info.minor}"
            assert (workspace / given["cache-dependency-path"]).is_file()
        elif action == "aws-actions/configure-aws-credentials":
            # GitHub gives no other job a token
            assert permissions["id-token"] == "write"
            self.credentials = {**self.roles[given["role-to-assume"]], "AWS_REGION": given["aws-region"]}
        elif action == "actions/upload-artifact":
            shutil.copytree(workspace / given["path"], artifacts / given["name"])
        elif action == "actions/download-artifact":
            assert given["merge-multiple"]
            for one in sorted(artifacts.glob(given["pattern"])):
                shutil.copytree(one, workspace / given["path"], dirs_exist_ok=True)
        else:
            raise UnknownPart(action)

    def _run_step(
        self, step: Mapping[str, Any], workspace: Path, known: Mapping[str, Any], ran: Ran, seconds: float
    ) -> tuple[int, dict[str, str]]:
        """The step's exit code and its outputs."""
        script, output, summary = (
            workspace.parent / f"{workspace.name}.{part}" for part in ("sh", "out", "md")
        )
        script.write_text(step["run"])
        output.write_text("")
        summary.touch()
        own = {name: str(filled(text, known)) for name, text in step.get("env", {}).items()}
        self.step = subprocess.Popen(
            [*BASH, str(script)],
            cwd=workspace,
            env={
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "PREFECT_HOME": str(self.folder / "prefect"),
                "DO_NOT_TRACK": "1",
                "CI": "true",
                "GITHUB_ACTIONS": "true",
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(summary),
                **self.env,
                **self.credentials,
                **own,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            printed, _ = self.step.communicate(timeout=seconds)
        finally:
            self.step.kill()
        ran.log += printed
        ran.summary = summary.read_text()
        return self.step.returncode, dict(line.split("=", 1) for line in output.read_text().splitlines())


def put_programs(folder: Path) -> Path:
    """Write the stand-ins for what a runner's machine has into a folder for its PATH; the folder."""
    folder.mkdir(parents=True)
    for name, text in (("slipway", SLIPWAY), ("pip", PIP), ("gh", GH)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def _known(part: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := part.keys() - keys:
        raise UnknownPart(", ".join(sorted(unknown)))
