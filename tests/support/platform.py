"""A Prefect server, a worker and deployments of the stand-in flows, each of which a test may kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import yaml
from slipway_sandbox.testing import make_prefect_home

from tests.support.builders import ROOT
from tests.support.commands import Command
from tests.support.loopback import free_port
from tests.support.standin import FLOWS
from tests.support.standin.world import VARIABLE, World

STAND_IN = """
from tests.support.standin.tasks import stand_in

stand_in(globals())
"""
# starts what follows the host's name, as the same process
AS_ROOT = () if os.geteuid() == 0 else ("--user", "--map-root-user")
NEW_HOST = ("unshare", *AS_ROOT, "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')
T = TypeVar("T")
PATIENCE = 90.0
# a server that lays out its tables in an empty Postgres took more than 90 s beside other work
START_SECONDS = 240.0
# more than Prefect 3.8.8 lets a statement wait for SQLite: busy_timeout of server/database/configurations.py, 60 s
ANSWER_SECONDS = 75.0
# between two looks, from the first to the tenth and on: each is a request, on a machine that has little to spare
FIRST_PAUSE, LAST_PAUSE = 0.05, 0.5
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
ASKED = {"model": "tiny-llama", "environment": "sandbox"}
# ten heartbeats of tests/support/standin/tasks.py
SILENT_SECONDS = 30
# a Python that loads Prefect takes 30 s on a machine with a load of 15
PENDING_SECONDS = 120
OFTEN = "*/2 * * * *"
CLUSTER = "slipway-sandbox"


def eventually(found: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """What `found` gives once that is true; fails the test where it never is."""
    deadline, pause = time.monotonic() + patience, FIRST_PAUSE
    while not (value := found()):
        if time.monotonic() >= deadline:
            pytest.fail(f"not within {patience:.0f} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.3, LAST_PAUSE)
    return value


@dataclass
class Platform:
    """What a platform team runs, on loopback: `processes` by name."""

    folder: Path
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    # of the server; empty: SQLite
    database: str = ""
    # whether the server's log has a line for each request
    access_log: bool = False
    # of the deployment; a command's run is not known before it begins
    started_run: str = ""
    # one for all: to make one reads the certificates, 40 ms of a core. It keeps no connection: uvicorn ends one that it heard
    # nothing on for 5 s, and on a busy machine it hears late
    client: httpx.Client = field(
        default_factory=lambda: httpx.Client(
            timeout=ANSWER_SECONDS, limits=httpx.Limits(max_keepalive_connections=0)
        ),
        repr=False,
    )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def variables(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
        return {
            **own,
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            # environments/sandbox.yaml asks for it; no stand-in uses it
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sandbox")]),
            "SLIPWAY_HOME": str(self.folder / "project"),
            "DO_NOT_TRACK": "1",
        }

    # -- the processes

    def start_server(self) -> None:
        home = self.folder / "server"
        if self.database:
            home.mkdir(exist_ok=True)
            more = {
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.database,
                # a connection took more than the default's 5 s on a busy machine: one 500, and its run was crashed
                "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
            }
        elif ((home if home.exists() else make_prefect_home(home)) / "prefect.db").exists():
            # laid out whole, or the server makes its tables by itself
            more = {
                "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
                "PREFECT_SERVER_API_BLOCKS_REGISTER_ON_START": "false",
            }
        else:
            more = {}
        words = ["uvicorn", "--factory", "prefect.server.api.server:create_app"]
        words += ["--log-level", "info" if self.access_log else "warning"]
        self._start(
            "server",
            [*words, "--host", "127.0.0.1", "--port", str(self.port)],
            {
                **more,
                "PREFECT__SERVER_FINAL": "1",
                "PREFECT_HOME": str(home),
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                # automations look for what did not happen every few seconds
                "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
                # what SQLite refused, too: a failed test shows it
                "PREFECT_SERVER_LOG_RETRYABLE_ERRORS": "true",
            },
        )
        eventually(self._healthy, "the server answers", START_SECONDS)

    def _healthy(self) -> bool:
        try:
            return self.client.get(f"{self.url}/health", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def start_worker(self, pool: str = "slipway-sandbox") -> None:
        self._start("worker", ["prefect", "worker", "start", "--pool", pool, "--name", "w"], {})

    def start_worker_on(self, host: str) -> None:
        """A worker that takes one run at a time, on a host of that name: a UTS namespace and a home of its own."""
        words = ["prefect", "worker", "start", "--pool", "slipway-sandbox", "--name", host, "--limit", "1"]
        self._start(host, words, {"PREFECT_HOME": str(self.folder / host)}, [*NEW_HOST, host])

    def _start(
        self, name: str, words: list[str], more: Mapping[str, str], within: Sequence[str] = ()
    ) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*within, sys.executable, "-m", *words],
                env={**self.variables, VARIABLE: str(self.folder / "world"), **more},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """kill -9 of the server or the worker alone."""
        self.processes[name].kill()
        self.processes[name].wait(10)

    def end(self) -> None:
        self.client.close()
        for process in self.processes.values():
            process.kill()
            process.wait(10)
        for pid in {entry.pid for entry in self.world.entries()}:
            if runs(pid):
                os.kill(pid, signal.SIGKILL)

    def tail(self, name: str) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-60:])

    # -- what a person does

    @property
    def world(self) -> World:
        return World(self.folder / "world")

    def lay_out(self) -> None:
        """The project's own models and environments, and the stand-in flows where its deployments look for flows."""
        project = self.folder / "project"
        project.mkdir(parents=True)
        for name in ("models", "environments", "k8s/addons", "k8s/prefect"):
            shutil.copytree(ROOT / name, project / name)
        automations = yaml.safe_load((ROOT / "automations.yaml").read_text())
        by_name = {one["name"]: one["trigger"] for one in automations}
        by_name["slipway-crash-a-silent-run"]["within"] = SILENT_SECONDS
        by_name["slipway-crash-a-run-that-never-began"]["within"] = PENDING_SECONDS
        (project / "automations.yaml").write_text(yaml.safe_dump(automations, sort_keys=False))
        (project / "flows").mkdir()
        for name in FLOWS:
            text = (ROOT / "flows" / f"{name}.py").read_text()
            (project / "flows" / f"{name}.py").write_text(text + STAND_IN)

    def slipway(self, *words: str, **variables: str) -> Command:
        """A `slipway` command, whose flows have the stand-ins for their tasks."""
        self.started_run = ""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.standin.cli", *words],
            cwd=self.folder / "project",
            env={**self.variables, VARIABLE: str(self.folder / "world"), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return Command(process).listen()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._answer(method, path, body).raise_for_status()
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, body: Any = None) -> httpx.Response:
        def answered() -> httpx.Response | None:
            """Not while SQLite is locked, which Prefect's own client retries too."""
            answer = self.client.request(method, f"{self.url}{path}", json=body)
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        answer = eventually(answered, f"the server answers {method} {path}")
        assert answer is not None
        return answer

    def deploy(self) -> str:
        """Run the deployment `deploy`, as the UI's form does; the id of the run."""
        self.started_run = self.start("deploy", ASKED)
        return self.started_run

    def start(self, name: str, parameters: Mapping[str, str] | None = None) -> str:
        """Run a deployment with its own parameters and these; the id of the run."""
        made = self.call(
            "POST", f"/deployments/{self.deployment(name)}/create_flow_run", {"parameters": parameters or {}}
        )
        return str(made["id"])

    def deployment(self, name: str) -> str:
        return str(self.call("GET", f"/deployments/name/slipway-{name}/{ASKED['environment']}")["id"])

    def schedule(self, name: str, *, on: bool) -> None:
        """The switch of a deployment in the UI."""
        switch = "resume" if on else "pause"
        self.call("POST", f"/deployments/{self.deployment(name)}/{switch}_deployment")

    def only_stand_ins(self) -> None:
        """Turn off the schedules of flows that have no stand-ins; `recover` looks more often."""
        for one in self.call("POST", "/deployments/filter", {}):
            for schedule in one["schedules"]:
                ours = one["id"] == self.deployment("recover")
                change = {"schedule": {"cron": OFTEN}, "active": True} if ours else {"active": False}
                self.call("PATCH", f"/deployments/{one['id']}/schedules/{schedule['id']}", change)

    @contextmanager
    def without(self, automation: str) -> Iterator[None]:
        """Turn an automation off while the block runs: its events are lost."""
        [known] = [one for one in self.call("POST", "/automations/filter", {}) if one["name"] == automation]
        self.call("PATCH", f"/automations/{known['id']}", {"enabled": False})
        try:
            yield
        finally:
            self.call("PATCH", f"/automations/{known['id']}", {"enabled": True})

    def set_state(self, run: str, type_: str, **more: Any) -> None:
        """What a button of the UI sends."""
        self.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": type_, **more}, "force": False})

    def cancel(self, run: str) -> None:
        self.set_state(run, "CANCELLING", name="Cancelling")

    def retry(self, run: str) -> None:
        self.set_state(run, "SCHEDULED", name="AwaitingRetry", message="Retry from the UI")

    def pause(self, run: str) -> None:
        """What UI V2 of Prefect 3.8.8 sends."""
        details = {"pause_reschedule": True, "pause_timeout": f"{date.today().year + 1}-01-01T00:00:00Z"}
        state = {"type": "PAUSED", "name": "Suspended", "state_details": details}
        self.call("POST", f"/flow_runs/{run}/set_state", {"state": state, "force": True})

    def resume(self, run: str) -> None:
        self.call("POST", f"/flow_runs/{run}/resume")

    # -- what can be seen

    def state(self, run: str) -> str:
        return str(self.call("GET", f"/flow_runs/{run}")["state"]["type"])

    def state_name(self, run: str) -> str:
        return str(self.call("GET", f"/flow_runs/{run}")["state"]["name"])

    def message(self, run: str) -> str:
        return str(self.call("GET", f"/flow_runs/{run}")["state"]["message"])

    def states(self, run: str) -> list[str]:
        return [one["type"] for one in self.call("GET", f"/flow_run_states/?flow_run_id={run}")]

    def runs_of(self, flow: str) -> list[dict[str, Any]]:
        """The runs of a flow of flows/, oldest first."""
        found: list[dict[str, Any]] = self.call(
            "POST",
            "/flow_runs/filter",
            {"flows": {"name": {"any_": [f"slipway-{flow}"]}}, "sort": "START_TIME_ASC"},
        )
        return found

    def ended(self, run: str, patience: float = PATIENCE) -> str:
        eventually(lambda: self.state(run) in TERMINAL, f"run {run} ends", patience)
        return self.state(run)

    def settled(self) -> None:
        """Until no run is under way."""

        def none() -> bool:
            live = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING", "SCHEDULED"]}}}
            found = self.call("POST", "/flow_runs/filter", {"flow_runs": live})
            return not [
                one for one in found if not (one["auto_scheduled"] and one["state"]["type"] == "SCHEDULED")
            ]

        # one that lost its worker before it began is given up after PENDING_SECONDS
        eventually(none, "no run is under way", PENDING_SECONDS + PATIENCE)

    def artifact(self, run: str, kind: str) -> str:
        """The text of a run's latest artifact of that kind; empty where it made none."""
        found = self.call(
            "POST",
            "/artifacts/filter",
            {
                "flow_runs": {"id": {"any_": [run]}},
                "artifacts": {"key": {"like_": f"{kind}-%"}},
                "sort": "CREATED_DESC",
            },
        )
        return str(found[0]["data"]) if found else ""

    def turn(self, cluster: str = CLUSTER) -> dict[str, Any] | None:
        """Who holds the cluster's turn."""
        answer = self._answer("GET", f"/variables/name/slipway-turn-{cluster}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        return dict(answer.raise_for_status().json()["value"])

    def lose_turn(self) -> None:
        """What another run does that takes it over."""
        self.call("DELETE", f"/variables/name/slipway-turn-{CLUSTER}")

    def in_stage(self, stage: str, beside: int = 0) -> int:
        """The process that is in `stage`, other than `beside`, once there is one."""

        def found() -> int:
            if self.started_run and self.state(self.started_run) in TERMINAL:
                pytest.fail(f"the run ended before {stage}:\n{self.tail('worker')}")
            last = {entry.pid: entry.what for entry in self.world.entries() if entry.stage == stage}
            return next((pid for pid, what in last.items() if what == "begin" and pid != beside), 0)

        return eventually(found, f"a run in {stage}")


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
