"""One container of a pod, through all its runs: image, configuration, process, probes, end, back-off, again."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from slipway_sandbox.apiclient import Object
from slipway_sandbox.images.table import Image, image_id
from slipway_sandbox.nodes.kubelet import process
from slipway_sandbox.nodes.kubelet.backoff import Backoff
from slipway_sandbox.nodes.kubelet.environment import ConfigError, expand
from slipway_sandbox.nodes.kubelet.hooks import run_handler
from slipway_sandbox.nodes.kubelet.images import ImageStore
from slipway_sandbox.nodes.kubelet.logs import ContainerLog
from slipway_sandbox.nodes.kubelet.memory import limit_of, until_exceeded
from slipway_sandbox.nodes.kubelet.mounts import rewrite
from slipway_sandbox.nodes.kubelet.probes import ProbeLoop, Prober, ProbeSpec
from slipway_sandbox.nodes.kubelet.status import ContainerState
from slipway_sandbox.nodes.timestamps import timestamp

TERMINATION_MESSAGE_LIMIT = 4096
FALLBACK_BYTES, FALLBACK_LINES = 2048, 80  # of the log, whichever is less
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Launch:
    """Everything to start one process."""

    image: Image
    argv: list[str]
    env: dict[str, str]
    directory: Path
    mounts: Mapping[str, Path]
    termination_log: Path


@dataclass(frozen=True)
class Surroundings:
    """What a container needs of its pod and node.

    `variables` resolves its declared environment, `mounts` its volumes, `defaults` come before what it declares and `fixed`
    after; `record` takes (Normal or Warning, reason, message); `changed` is called whenever the state did.
    """

    address: str
    folder: Path
    shims: Path
    images: ImageStore
    guard: process.ProcessGuard
    http: aiohttp.ClientSession
    crash_backoff: float
    memory_poll: float  # seconds between two looks at what a container with a memory limit holds
    pod_text: str  # as in "name_namespace(uid)"
    variables: Callable[[Object], Awaitable[dict[str, str]]]
    mounts: Callable[[Object], dict[str, Path]]
    defaults: Mapping[str, str]
    fixed: Mapping[str, str]
    record: Callable[[str, str, str], None]
    changed: Callable[[], None]
    file_bytes: int | None = None  # the longest file a process may write: a full volume

    def recording(self, record: Callable[[str, str, str], None]) -> Surroundings:
        """The same for one container, whose events carry its own field path."""
        return replace(self, record=record)


class CannotStart(Exception):
    """The runtime refuses to start the process."""


class Container:
    """`run` returns when the container will not run again; `stop` ends it gracefully."""

    def __init__(
        self, spec: Object, state: ContainerState, policy: str, around: Surroundings, grace: float
    ) -> None:
        self.spec, self.state, self._policy = spec, state, policy
        self._around, self._grace = around, grace
        self.log: ContainerLog | None = None
        self.previous_log: ContainerLog | None = None
        self._process: process.ContainerProcess | None = None
        self._launch: Launch | None = None
        self._restarting = Backoff(around.crash_backoff, first_free=True)
        self._stopping = False
        self._oom_killed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            while True:
                launch = await self._prepare()
                began = time.monotonic()
                code = await self._run_once(launch)
                if self._stopping or not self._restarts(code):
                    return
                await self._back_off(self._restarting.pause(time.monotonic() - began))
                self.state.restart_count += 1
        finally:
            for task in self._tasks:
                task.cancel()
            if self._process and not self._process.exited.done():
                self._process.kill_group(signal.SIGKILL)

    async def stop(self, deadline: float) -> None:
        """End it before `deadline` (on the event loop's clock), by force then."""
        self._stopping = True
        if self._process and not self._process.exited.done():
            self._around.record("Normal", "Killing", f"Stopping container {self.spec['name']}")
            await self._kill(deadline)

    def kill(self, *, out_of_memory: bool = False) -> None:
        """End the current run at once, as the kernel's OOM killer or a lost node does."""
        if self._process and not self._process.exited.done():
            self._oom_killed = out_of_memory
            self._process.kill_group(signal.SIGKILL)

    # --- before a run

    async def _prepare(self) -> Launch:
        """Pull and configure until both succeed."""
        image = await self._around.images.pull(self.spec, self._waiting, self._around.record)
        self.state.image_id = image_id(self.spec["image"])
        pauses = Backoff(self._around.crash_backoff)
        while True:
            try:
                return await self._configure(image)
            except ConfigError as error:
                self._around.record("Warning", "Failed", f"Error: {error}")
                self._waiting("CreateContainerConfigError", str(error))
                await asyncio.sleep(pauses.pause())

    async def _configure(self, image: Image) -> Launch:
        declared = await self._around.variables(self.spec)
        mounts = dict(self._around.mounts(self.spec))
        scratch = self._around.folder / "containers" / self.spec["name"]
        for folder in ("root", "tmp"):
            (scratch / folder).mkdir(parents=True, exist_ok=True)
        termination_log = scratch / "termination-log"
        termination_log.write_bytes(b"")
        mounts[self.spec.get("terminationMessagePath") or "/dev/termination-log"] = termination_log
        shims = image.shims(self._around.shims)
        env = {
            "PATH": f"{shims}:{DEFAULT_PATH}",
            "HOME": str(scratch / "root"),
            "TMPDIR": str(scratch / "tmp"),
            **self._around.defaults,
            **{name: rewrite(value, mounts) for name, value in declared.items()},
            **self._around.fixed,
            "SLIPWAY_SANDBOX_CONTAINER": self.spec["name"],
            "SLIPWAY_SANDBOX_MOUNTS": json.dumps({path: str(real) for path, real in mounts.items()}),
            "SLIPWAY_SANDBOX_READ_ONLY": json.dumps(_read_only_paths(self.spec)),
        }
        own = env["PYTHONPATH"] if "PYTHONPATH" in declared else ""
        env["PYTHONPATH"] = ":".join(filter(None, (own, self._around.defaults.get("PYTHONPATH"))))

        command, args = (
            [expand(word, declared) for word in self.spec.get(key) or ()] for key in ("command", "args")
        )
        argv = [rewrite(word, mounts) for word in image.argv(command, args)]
        inside = self.spec.get("workingDir") or ""
        directory = image.folders.get(inside) or _directory(rewrite(inside, mounts), scratch / "root")
        return Launch(image, argv, env, directory, mounts, termination_log)

    def _real_argv(self, launch: Launch, argv: Sequence[str]) -> list[str]:
        """Raises CannotStart where the image has no such program."""
        if not argv:
            raise CannotStart("no command specified")
        program = launch.image.program(argv[0])
        if program is not None:
            limit = self._around.file_bytes
            full = [] if limit is None else ["prlimit", f"--fsize={limit}", "--"]
            return [*full, *program, *argv[1:]]
        mounted = any(Path(argv[0]).is_relative_to(folder) for folder in launch.mounts.values())
        if mounted and Path(argv[0]).is_file():
            return list(argv)
        where = (
            f"stat {argv[0]}: no such file or directory"
            if "/" in argv[0]
            else "executable file not found in $PATH"
        )
        raise CannotStart(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
            f'unable to start container process: error during container init: exec: "{argv[0]}": {where}: unknown'
        )

    # --- a run

    async def _run_once(self, launch: Launch) -> int:
        name, around = self.spec["name"], self._around
        self._launch, self._oom_killed = launch, False
        self.previous_log, self.log = self.log, ContainerLog()
        self.state.container_id = f"containerd://{secrets.token_hex(32)}"
        around.record("Normal", "Created", f"Created container: {name}")
        started_at = timestamp()
        try:
            self._process = await process.start(
                self._real_argv(launch, launch.argv),
                env=launch.env,
                directory=launch.directory,
                log=self.log,
                guard=around.guard,
            )
        except (CannotStart, OSError) as error:
            around.record("Warning", "Failed", f"Error: {error}")
            self.log.end()
            self._ended(128, started_at, "StartError", str(error))
            return 128
        around.record("Normal", "Started", f"Started container {name}")
        self.state.state = {"running": {"startedAt": started_at}}
        self._set_started("startupProbe" not in self.spec)
        probing = asyncio.create_task(self._probe(launch))
        weighing = asyncio.create_task(self._weigh())
        self._keep(self._post_start(launch))
        try:
            code = await self._process.exited
        finally:
            probing.cancel()
            weighing.cancel()
        code = 128 - code if code < 0 else code
        self._ended(code, started_at, "OOMKilled" if self._oom_killed else "", self._message(launch, code))
        return code

    async def _weigh(self) -> None:
        """The kernel's part: a container that holds more than its limit is killed, all of it."""
        limit, running = limit_of(self.spec), self._process
        if limit is not None and running is not None:
            await until_exceeded(lambda: running.pid, limit, self._around.memory_poll)
            self.kill(out_of_memory=True)

    def _ended(self, code: int, started_at: str, reason: str, message: str) -> None:
        terminated: Object = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "startedAt": started_at,
            "finishedAt": timestamp(),
            "containerID": self.state.container_id,
        }
        if message:
            terminated["message"] = message
        self.state.state = {"terminated": terminated}
        self.state.started = self.state.ready = False
        self._around.changed()

    def _message(self, launch: Launch, code: int) -> str:
        """The termination message: what the container wrote to its file, else its log's end where it asked for that."""
        text = launch.termination_log.read_bytes()[-TERMINATION_MESSAGE_LIMIT:].decode(errors="replace")
        fallback = self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not text and code != 0 and fallback and self.log:
            text = self.log.tail_text(FALLBACK_BYTES, FALLBACK_LINES)
        return text

    def _set_started(self, started: bool) -> None:
        self.state.started = started
        self.state.ready = started and "readinessProbe" not in self.spec
        self._around.changed()

    # --- probes and hooks

    def _prober(self, launch: Launch) -> Prober:
        ports = {p["name"]: p["containerPort"] for p in self.spec.get("ports") or [] if p.get("name")}

        async def execute(command: Sequence[str], timeout: float) -> tuple[int, str]:
            words = [rewrite(word, launch.mounts) for word in command]
            try:
                argv = self._real_argv(launch, words)
            except CannotStart as error:
                return 126, str(error)
            return await process.run_briefly(
                argv, env=launch.env, directory=launch.directory, guard=self._around.guard, timeout=timeout
            )

        return Prober(self._around.http, self._around.address, ports, execute)

    async def _probe(self, launch: Launch) -> None:
        """Startup probe first, then readiness and liveness together, until cancelled."""
        prober = self._prober(launch)
        clock = asyncio.get_running_loop().time
        began = clock()
        if "startupProbe" in self.spec:
            up = asyncio.Event()
            spec, loop = self._loop(
                "startup", prober, lambda healthy: up.set() if healthy else self._unhealthy("startup")
            )
            running = asyncio.create_task(loop.run(spec.initial_delay))
            try:
                await up.wait()
            finally:
                running.cancel()
            self._set_started(True)
        async with asyncio.TaskGroup() as group:
            for kind, changed in (
                ("readiness", self._set_ready),
                ("liveness", lambda healthy: None if healthy else self._unhealthy("liveness")),
            ):
                if f"{kind}Probe" in self.spec:
                    spec, loop = self._loop(kind, prober, changed)
                    group.create_task(loop.run(max(0.0, spec.initial_delay - (clock() - began))))

    def _loop(
        self, kind: str, prober: Prober, changed: Callable[[bool], None]
    ) -> tuple[ProbeSpec, ProbeLoop]:
        spec = ProbeSpec.of(self.spec[f"{kind}Probe"])

        def failed(words: str) -> None:
            self._around.record("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {words}")

        return spec, ProbeLoop(spec, prober, changed=changed, failed=failed)

    def _set_ready(self, ready: bool) -> None:
        self.state.ready = ready
        self._around.changed()

    def _unhealthy(self, kind: str) -> None:
        if self._stopping:
            return
        name = self.spec["name"]
        self._around.record("Normal", "Killing", f"Container {name} failed {kind} probe, will be restarted")
        grace = self.spec[f"{kind}Probe"].get("terminationGracePeriodSeconds", self._grace)
        self._keep(self._kill(asyncio.get_running_loop().time() + grace))

    async def _post_start(self, launch: Launch) -> None:
        handler = (self.spec.get("lifecycle") or {}).get("postStart")
        if handler and not await run_handler(handler, self._prober(launch), timeout=60):
            self._around.record("Warning", "FailedPostStartHook", "PostStartHook failed")
            await self._kill(asyncio.get_running_loop().time() + self._grace)

    async def _kill(self, deadline: float) -> None:
        """preStop, then the image's stop signal to the first process, then SIGKILL to all at `deadline`; done when the process is."""
        running, launch = self._process, self._launch
        assert running is not None
        assert launch is not None
        clock = asyncio.get_running_loop().time
        handler = (self.spec.get("lifecycle") or {}).get("preStop")
        if handler and not await run_handler(handler, self._prober(launch), timeout=deadline - clock()):
            self._around.record("Warning", "FailedPreStopHook", "PreStopHook failed")
        running.signal(launch.image.stop_signal)
        try:
            # Even a zero grace leaves the process a moment to end well, as the kubelet's minimum of 2 s after preStop does.
            await asyncio.wait_for(asyncio.shield(running.exited), max(deadline - clock(), 0.1))
        except TimeoutError:
            running.kill_group(signal.SIGKILL)
            await asyncio.shield(running.exited)

    def _keep(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- between runs

    def _restarts(self, code: int) -> bool:
        return self._policy == "Always" or (self._policy == "OnFailure" and code != 0)

    async def _back_off(self, pause: float) -> None:
        """After an end: the state becomes the last one, and a repeated crash waits."""
        self.state.last_state = self.state.state
        if not pause:
            return
        name, pod = self.spec["name"], self._around.pod_text
        self._around.record("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {pod}")
        self._waiting("CrashLoopBackOff", f"back-off {pause:g}s restarting failed container={name} pod={pod}")
        await asyncio.sleep(pause)

    def _waiting(self, reason: str, message: str) -> None:
        self.state.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        self.state.ready = self.state.started = False
        self._around.changed()


def _read_only_paths(spec: Object) -> list[str]:
    """Mount paths the container may not write, with "/" for a read-only root file system."""
    mounts = [mount["mountPath"] for mount in spec.get("volumeMounts") or [] if mount.get("readOnly")]
    root = (spec.get("securityContext") or {}).get("readOnlyRootFilesystem")
    return [*mounts, *(["/"] if root else [])]


def _directory(wanted: str, otherwise: Path) -> Path:
    """The working directory: a mounted one as asked, else the container's own scratch folder."""
    return Path(wanted) if wanted and Path(wanted).is_dir() else otherwise
