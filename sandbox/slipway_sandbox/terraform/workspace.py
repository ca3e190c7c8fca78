"""Run terraform in a folder of a test's own; reads plans, outputs and state."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEADLINE = 240.0  # seconds one terraform command may take; the longest takes 15 on a quiet machine


@dataclass(frozen=True)
class Finished:
    code: int
    text: str


@dataclass
class Workspace:
    """One folder with a configuration, and terraform in it."""

    folder: Path
    environment: Mapping[str, str]
    variables: dict[str, Any] = field(default_factory=dict)

    def run(self, *arguments: str, code: int = 0, **variables: Any) -> Finished:
        """Run terraform; asserts its exit code. Variables go in by file, on top of the workspace's own."""
        (self.folder / "test.auto.tfvars.json").write_text(json.dumps(self.variables | variables))
        terraform = shutil.which("terraform", path=self.environment["PATH"])
        assert terraform, "no terraform on PATH, and none was supplied"
        done = subprocess.run(
            [terraform, *arguments],
            cwd=self.folder,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == code, (
            f"terraform {' '.join(arguments)}: {done.returncode}\n{done.stdout[-6000:]}"
        )
        return Finished(done.returncode, done.stdout)

    def init(self, *options: str) -> None:
        self.run("init", "-input=false", "-no-color", *options)

    def apply(self, **variables: Any) -> Finished:
        return self.run("apply", "-input=false", "-no-color", "-auto-approve", **variables)

    def plan(self, *options: str, changes: bool, **variables: Any) -> Finished:
        """`changes`: whether the plan must hold some."""
        code = 2 if changes else 0
        arguments = ("plan", "-input=false", "-no-color", "-detailed-exitcode", *options)
        return self.run(*arguments, code=code, **variables)

    def planned(self, **variables: Any) -> dict[str, str]:
        """The action of a plan by address: create, update, replace or delete. The plan is kept as `planned`."""
        text = self.run("plan", "-input=false", "-json", "-out=planned", **variables).text
        events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        changes = [event["change"] for event in events if event["type"] == "planned_change"]
        return {c["resource"]["addr"]: c["action"] for c in changes if c["action"] != "read"}

    def outputs(self) -> dict[str, Any]:
        shown = json.loads(self.run("output", "-json").text)
        return {name: entry["value"] for name, entry in shown.items()}

    def state(self) -> dict[str, Any]:
        """The values of every managed resource by address."""
        shown = json.loads(self.run("show", "-json").text)
        resources = shown.get("values", {}).get("root_module", {}).get("resources", [])
        return {r["address"]: r["values"] | {"__tainted": r.get("tainted", False)} for r in resources}
