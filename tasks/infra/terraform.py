"""Run terraform for one root in a work directory of its own: init, plan, apply.

python-terraform composes the command lines. tasks/cloud/processes.py runs them, because the library neither streams
output nor has a deadline (docs/decisions.md).
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_terraform import IsFlagged
from python_terraform import Terraform as CommandLines

from tasks.cloud.aws import missing_right
from tasks.cloud.policies import give_right
from tasks.cloud.processes import TOOLS, Finished, executable, run
from tasks.infra.plan import Plan, read_plan
from tasks.records.errors import AccessDenied, CapacityUnavailable, ToolFailed
from tasks.records.progress import Reporter

# its debug lines hold sensitive outputs
logging.getLogger("python_terraform").setLevel(logging.WARNING)

# apply_complete events of each action: https://developer.hashicorp.com/terraform/internals/machine-readable-ui
OPERATIONS = {"create": 1, "update": 1, "delete": 1, "replace": 2, "import": 0, "forget": 0}

# of terraform plan -detailed-exitcode
NO_CHANGES, CHANGES = 0, 2


class TerraformRoot:
    """One terraform root, copied to a work directory so that import blocks and variables never touch the checkout.

    Args:
        backend: settings of the S3 backend.
        deadline: seconds for each command.
        started: called with terraform's process id, for the lock's record.
    """

    def __init__(
        self,
        source: Path,
        work: Path,
        *,
        backend: Mapping[str, str],
        variables: Mapping[str, Any],
        deadline: float,
        reporter: Reporter,
        started: Callable[[int], None] = lambda pid: None,
        profile: str | None = None,
        provider_lock: bool = True,
    ) -> None:
        self.name = source.name
        self.work = work
        self._source = source
        self._backend = dict(backend)
        self._variables = dict(variables)
        self._deadline = deadline
        self._reporter = reporter
        self._started = started
        self._provider_lock = provider_lock
        self._environment = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
        if profile:
            # AWS's Go SDK prefers keys of the environment to a profile, boto3 the profile: empty keys make them agree
            keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
            self._environment |= {"AWS_PROFILE": profile, **dict.fromkeys(keys, "")}
        self._lines = CommandLines(
            working_dir=str(work), terraform_bin_path=executable("terraform", install_hint=TOOLS["terraform"])
        )

    def init(self) -> None:
        """Write the work directory anew and connect it to its state. Raises ToolFailed."""
        self.work.mkdir(parents=True, exist_ok=True)
        for old in (*self.work.glob("*.tf"), *self.work.glob("*.tf.json"), *self.work.glob("*.tfplan")):
            old.unlink()
        # JSON: a policy that a root reads as it was published
        for file in (*self._source.glob("*.tf"), *self._source.glob("*.json")):
            shutil.copy(file, self.work / file.name)
        lock = self._source / ".terraform.lock.hcl"
        if self._provider_lock and lock.exists():
            shutil.copy(lock, self.work / lock.name)
        (self.work / "slipway.auto.tfvars.json").write_text(json.dumps(self._variables, indent=1))
        self._terraform(
            "init",
            quiet=True,
            input=False,
            no_color=IsFlagged,
            reconfigure=IsFlagged,
            backend_config=self._backend,
        )

    def write_imports(self, blocks: str) -> None:
        """Write import blocks for the next plan; an empty text removes them."""
        file = self.work / "slipway_imports.tf"
        if blocks:
            file.write_text(blocks)
        else:
            file.unlink(missing_ok=True)

    def plan(self, *, destroy: bool = False, lock: bool = True) -> Plan:
        """Save a plan and read it back, without the state's lock where it is not applied. Raises ToolFailed."""
        file = self.work / "slipway.tfplan"
        planned = self._terraform(
            "plan",
            accept=(NO_CHANGES, CHANGES),
            json=IsFlagged,
            input=False,
            detailed_exitcode=IsFlagged,
            lock=lock,
            lock_timeout="30s",
            destroy=IsFlagged if destroy else None,
            out=file,
        )
        if planned.code == NO_CHANGES:
            return Plan(file, (), differs=False)
        shown = self._terraform("show", str(file), quiet=True, json=IsFlagged)
        return read_plan(json.loads(shown.stdout), file)

    def apply(self, plan: Plan) -> None:
        """Apply the saved plan. Raises ToolFailed; what was created until then is in the state."""
        operations = sum(OPERATIONS[change.action] for change in plan.changes)
        self._terraform(
            "apply",
            str(plan.file),
            operations=operations,
            json=IsFlagged,
            input=False,
            lock_timeout="30s",
            auto_approve=IsFlagged,
        )

    def untaint(self, address: str) -> None:
        """Keep a resource that a stopped apply marked for replacement."""
        self._terraform("untaint", address)

    def force_unlock(self, lock_id: str) -> None:
        """Break a lock; locks.py decides when that is safe."""
        self._terraform("force-unlock", lock_id, force=IsFlagged)

    def _terraform(
        self,
        verb: str,
        *arguments: str,
        quiet: bool = False,
        accept: tuple[int, ...] = (0,),
        operations: int = 0,
        **flags: Any,
    ) -> Finished:
        """Run one command. `operations`: how many resources an apply creates, changes and destroys."""
        # flags first: terraform ends them at the first argument
        argv = self._lines.generate_cmd_string(verb, *arguments, **flags)
        diagnostics: list[str] = []
        done = 0

        def hear(line: str) -> None:
            nonlocal done
            said = _message(line, diagnostics)
            if quiet or not said.text:
                return
            if said.of_many:
                self._reporter.detail(said.text)
            else:
                self._reporter.say(said.text)
            if said.resource and operations:
                done = min(done + said.complete, operations)
                self._reporter.progress(done, operations, "resources", f"| {said.resource}")

        try:
            return run(
                [str(word) for word in argv],
                timeout=self._deadline,
                on_line=hear,
                cwd=self.work,
                accept=accept,
                env=self._environment,
                on_start=self._started,
            )
        except ToolFailed as failed:
            if any("InsufficientInstanceCapacity" in line for line in diagnostics):
                raise CapacityUnavailable(
                    f"EC2 has no capacity for {self.name} now",
                    evidence=diagnostics,
                    next_command="run the same command again later, or choose another cluster.gpu.instance_type",
                ) from failed
            if missing := next(filter(None, map(missing_right, diagnostics)), None):
                raise AccessDenied(
                    f"terraform {verb} of {self.name}: {missing}",
                    evidence=diagnostics,
                    next_command=give_right(missing.split()[0]),
                ) from failed
            if diagnostics:
                raise type(failed)(
                    f"terraform {verb} failed for {self.name}: {diagnostics[0]}",
                    evidence=diagnostics,
                    next_command=failed.next_command or f"cd {self.work} && terraform {verb}",
                ) from failed
            raise


@dataclass(frozen=True)
class _Said:
    """What people read of an output line. `of_many`: one of a line for each resource; `resource`: its address."""

    text: str = ""
    of_many: bool = False
    resource: str = ""
    complete: bool = False


def _message(line: str, diagnostics: list[str]) -> _Said:
    """Parse an output line; errors are appended to `diagnostics`."""
    if not line.startswith("{"):
        return _Said(line.strip())
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return _Said(line.strip())
    kind = event.get("type")
    resource = str((event.get("hook") or {}).get("resource", {}).get("addr", ""))
    if resource.startswith("data."):
        return _Said()
    if kind == "diagnostic" and event.get("@level") == "error":
        diagnostic = event["diagnostic"]
        where = diagnostic.get("range") or {}
        place = f" ({where['filename']}:{where['start']['line']})" if where else ""
        diagnostics.append(f"{diagnostic['summary']}{place} {diagnostic.get('detail', '')}".strip())
    text = str(event.get("@message", "")).strip()
    if kind in {"apply_complete", "apply_progress"}:
        return _Said(text, of_many=True, resource=resource, complete=kind == "apply_complete")
    if kind == "change_summary":
        # a plan is told as a whole once it is read (stacks.py)
        return _Said(text, of_many=(event.get("changes") or {}).get("operation") == "plan")
    return _Said(text if kind in {"apply_errored", "diagnostic"} else "")
