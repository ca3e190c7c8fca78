"""Apply one stack (storage or cluster): lock, plan, adopt, check, apply, read the outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tasks.cloud.aws import Aws
from tasks.infra.adopt import import_blocks, imports, is_whole
from tasks.infra.folders import WorkFolder
from tasks.infra.locks import StateLock
from tasks.infra.plan import Plan, check_plan
from tasks.infra.state import backend, read_outputs, read_resources, state_key
from tasks.infra.terraform import TerraformRoot
from tasks.records.environment import Environment
from tasks.records.progress import Reporter

NO_CHANGE = "no change"
StackName = Literal["storage", "cluster"]
LOCK_PATIENCE_SECONDS = 900.0
# names that depend on an adopted resource are known one round later; our roots are 5 deep
ADOPTION_ROUNDS = 8


class Converged(NamedTuple):
    """A stack's outputs, and what was applied for them: a plan's sha256, or `no change`."""

    outputs: dict[str, Any]
    plan: str


def applied_as(plan: Plan) -> str:
    """The sha256 of a saved plan's file, by which evidence names it; `no change` where nothing is applied."""
    return hashlib.sha256(plan.file.read_bytes()).hexdigest() if plan.differs else NO_CHANGE


class Stack:
    """One terraform root and its state. Works in a folder of its own below ROOT/.slipway/terraform/ENVIRONMENT/NAME."""

    def __init__(
        self,
        name: StackName,
        environment: Environment,
        aws: Aws,
        root: Path,
        reporter: Reporter,
        variables: Mapping[str, Any],
        *,
        lock_patience: float = LOCK_PATIENCE_SECONDS,
    ) -> None:
        self.name, self._environment = name, environment
        self._aws, self._reporter, self._patience = aws, reporter, lock_patience
        settings = backend(environment, name)
        self._lock = StateLock(aws.client("s3"), settings["bucket"], state_key(environment, name))
        self._folder = WorkFolder.take(root / ".slipway" / "terraform" / environment.name / name)
        self._terraform = TerraformRoot(
            root / "infra" / "terraform" / name,
            self._folder.path,
            backend=settings,
            variables=variables,
            deadline=environment.deadlines.terraform,
            reporter=reporter,
            started=self._lock.started,
            profile=environment.aws_profile,
            provider_lock=environment.provider_lock,
        )

    def converge(
        self,
        *,
        may_destroy: Collection[str] = (),
        show: Callable[[Plan], None] = lambda plan: None,
    ) -> Converged:
        """Apply what is missing and read the outputs. `show` is given the plan before it is applied.

        Raises PlanRefused, StateLocked, ToolFailed; what was created until then is in the state.
        """
        self._ready()
        with self._lock.held():
            plan = self._plan_with_adoption()
            show(plan)
            self._reporter.say(f"plan: {plan}")
            check_plan(plan, may_destroy)
            applied = applied_as(plan)
            if plan.differs:
                self._terraform.apply(plan)
            return Converged(read_outputs(self._environment, self.name, self._aws), applied)

    def destroy(self, show: Callable[[Plan], None] = lambda plan: None) -> list[str]:
        """Destroy everything by a saved plan; the addresses left in the state, none where it succeeded."""
        self._ready()
        with self._lock.held():
            plan = self._terraform.plan(destroy=True)
            show(plan)
            self._reporter.say(f"plan: {plan}")
            if plan.differs:
                self._terraform.apply(plan)
            return read_resources(self._environment, self.name, self._aws)

    def plan(self) -> Plan:
        """Plan without applying, to show drift."""
        self._ready()
        # if killed, it would leave a lock that nobody owns
        return self._terraform.plan(lock=False)

    def _ready(self) -> None:
        """Initialise and wait for the lock, before this run overwrites the previous owner's record."""
        self._terraform.init()
        self._lock.wait_until_free(
            self._terraform.force_unlock, patience=self._patience, say=self._reporter.say
        )

    def _plan_with_adoption(self) -> Plan:
        """Plan, import what exists already, untaint what a stopped apply marked for replacement, plan again."""
        adopted: dict[str, str] = {}
        plan = self._terraform.plan()
        for _ in range(ADOPTION_ROUNDS):
            tainted = [
                change.address
                for change in plan.changes
                if change.reason == "replace_because_tainted" and is_whole(change, self._aws)
            ]
            for address in tainted:
                self._reporter.say(f"{address} was left half-made and is whole now: keeping it")
                self._terraform.untaint(address)
            new = {a: i for a, i in imports(plan.changes, self._aws).items() if a not in adopted}
            if not new and not tainted:
                break
            for address, identity in new.items():
                self._reporter.say(f"{address} exists already ({identity}): adopting it")
            adopted |= new
            self._terraform.write_imports(import_blocks(adopted))
            plan = self._terraform.plan()
        return plan
