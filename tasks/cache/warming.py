"""`warm`: a claim that holds the staged model, whole. Look, decide, take one step, look again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from tasks.cache import failures, manifests, observe
from tasks.cache.claims import Claims
from tasks.cache.decide import Action, decide
from tasks.cache.observe import ClusterVerbs, Object
from tasks.cache.snapshots import Snapshots, drop_uncut
from tasks.cache.volume import GIB, Volume, transfer_seconds, volume_for
from tasks.cloud.ebs import Ebs
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError, WarmingFailed
from tasks.records.model import Model
from tasks.records.progress import Reporter
from tasks.records.quantities import human_bytes, human_seconds
from tasks.records.results import StagedModel, WarmCache

LOOK_SECONDS = 1.0
LOG_LINES = 100
WAITS = {Action.WATCH_JOB, Action.WAIT, Action.AWAIT_BINDING, Action.AWAIT_GROWTH}
GROW_SECONDS = 45.0  # within the minute a copy has to start (transfer_seconds)
UNPLACEABLE_SECONDS = 10.0  # the scheduler tells at once; a node may just be joining
UNPULLABLE_SECONDS = 30.0  # a registry may be away for a moment; kubelet tries again by itself


def limits(staged: StagedModel, throughput: float, environment: Environment) -> dict[str, float]:
    """Seconds each phase of a warm job may take; the whole may take their sum. `throughput`: the volume's, in MiB/s."""
    waits = environment.deadlines
    slowest = min(throughput, waits.cold_read_mib_s)
    return {
        "deleting": waits.drain,
        "creating": 60.0,
        "scheduling": waits.node_boot,
        "volume": waits.volume_bind,
        "binding": waits.volume_bind,
        "growing": waits.volume_bind,
        "starting": waits.pod_start,
        "lost": waits.node_boot,
        "running": transfer_seconds(staged.total_bytes, slowest),
    }


def warm(
    cluster: ClusterVerbs,
    staged: StagedModel,
    model: Model,
    environment: Environment,
    *,
    reporter: Reporter,
    region: str,
    ebs: Ebs,
    needed: Collection[str] = (),
    deadline: float | None = None,
    manifests_folder: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> WarmCache:
    """Make the model's claim hold `staged`; a claim that does already is left alone. Then its snapshot, where wanted.

    `needed`: commits that may serve again, which stay on the volume beside those that are served.
    `deadline`: seconds for the copy; None: the sum of the phases' own (`limits`), which follow from the model's bytes.
    A run that was killed is taken up: a job still running is watched, one that ended is run again and finds its marker.
    Raises WarmingFailed with the cause read from events and the job's log, ClusterError.
    """
    run = _Warming(
        cluster, staged, model, environment, reporter, region, ebs, needed, manifests_folder, clock, sleep
    )
    run.claims.adoption.take_up()
    end = clock() + (deadline if deadline is not None else sum(run.limits.values()))
    while clock() < end:
        action = run.next_action()
        if action is Action.REUSE:
            return run.snapshots().converge(run.result(reused=run.copied is None))
        run.take(action)
        if action in WAITS:
            sleep(LOOK_SECONDS)
    raise run.overdue(run.phase, deadline or sum(run.limits.values()))


@dataclass
class _Warming:
    cluster: ClusterVerbs
    staged: StagedModel
    model: Model
    environment: Environment
    reporter: Reporter
    region: str
    ebs: Ebs
    needed: Collection[str]
    folder: Path | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    phase: str = "creating"
    since: float | None = None
    copied: int | None = None  # bytes, known once the job of this run succeeded
    watched: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    claim: Object | None = None
    pod: Object | None = None
    pods: list[Object] = field(default_factory=list)
    # exit codes the job's controller does not try again after
    permanent: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.namespace = self.environment.namespace
        self.name = manifests.claim_name(self.model)
        self.job = manifests.job_name(self.model, self.staged.commit)
        workloads = self.cluster.list("apps/v1", "Deployment", self.namespace)
        pods = observe.alive(self.cluster.list("v1", "Pod", self.namespace))
        self.needed = {*self.needed, *observe.served_commits([*workloads, *pods])}
        self.limits = limits(self.staged, self._volume().throughput, self.environment)
        self.place = failures.place_of(self.model, self.environment, self.staged.commit)
        self.claims = Claims(
            self.cluster,
            self.staged,
            self.model,
            self.environment,
            self.ebs,
            self.needed,
            self.reporter,
            self.folder,
        )

    def next_action(self) -> Action:
        """Read the claim and the job, then decide."""
        self.claim = self.cluster.get("v1", "PersistentVolumeClaim", self.name, self.namespace)
        job = self.cluster.get("batch/v1", "Job", self.job, self.namespace)
        self.pods = self._pods() if job else []
        self.permanent = observe.permanent_codes(job) if job else set()
        seen = observe.job_seen(job, self.pods, self.watched)
        volume = self._volume()
        needed = volume.size_gib * GIB
        classes = manifests.classes_of(volume, self.model.cache)
        action = decide(
            observe.claim_seen(self.claim, self._persistent_volume(), classes),
            seen,
            commit=self.staged.commit,
            manifest=self.staged.manifest_sha256,
            needed_bytes=needed,
        )
        if action is Action.WATCH_JOB and job is not None:
            self.watched.add(job["metadata"]["uid"])
        return action

    def take(self, action: Action) -> None:
        steps: dict[Action, Callable[[], None]] = {
            Action.CREATE_CLAIM: lambda: self.claims.create(self._volume(), self._gpu_nodes()),
            Action.EXPAND_CLAIM: self._expand_claim,
            Action.START_JOB: self._start_job,
            Action.REPLACE_JOB: self._delete_job,
            Action.WATCH_JOB: self._watch,
            Action.WAIT: lambda: self._wait("deleting"),
            Action.REPLACE_CLAIM: self._delete_claim,
            Action.AWAIT_BINDING: lambda: self._wait("binding"),
            Action.AWAIT_GROWTH: lambda: self._wait("growing"),
            Action.RECORD: self._record,
            Action.FAIL_JOB: self._fail_job,
            Action.FAIL_CLAIM: self._fail_claim,
        }
        steps[action]()

    def _volume(self) -> Volume:
        """Commits the claim holds and something needs stay beside the new one: the volume grows, they never go."""
        annotations = (self.claim or {"metadata": {}})["metadata"].get("annotations") or {}
        held = json.loads(annotations.get(manifests.HELD, "{}"))
        kept = sum(held[commit] for commit in held if commit in self.needed and commit != self.staged.commit)
        return volume_for(
            self.staged.total_bytes,
            self.model.cache,
            kept,
            budget_mib_s=self.environment.deadlines.cold_read_mib_s,
            ceiling=self.ebs.ceiling,
        )

    def snapshots(self) -> Snapshots:
        return Snapshots(
            self.cluster,
            self.staged,
            self.model,
            self.environment,
            self._volume(),
            self.ebs,
            self.needed,
            self.reporter,
            self.folder,
            self.clock,
            self.sleep,
        )

    def _expand_claim(self) -> None:
        size = f"{self._volume().size_gib}Gi"
        self.reporter.say(f"claim {self.name} grows to {size}")
        body = {"spec": {"resources": {"requests": {"storage": size}}}}
        self.cluster.patch("v1", "PersistentVolumeClaim", self.name, body, self.namespace)

    def _start_job(self) -> None:
        users = observe.users_of(self.cluster.list("v1", "Pod", self.namespace), self.name)
        node = users[0]["spec"]["nodeName"] if users else None
        if node:
            self.reporter.say(f"{self.name} is in use on {node}: the job runs there, a volume has one node")
        drop_uncut(self.cluster, self.model, self.namespace, self.reporter)
        for document in manifests.for_namespace(self.environment, self.folder):
            self.cluster.apply(document)
        job = manifests.job(
            self.staged,
            self.model,
            self.environment,
            region=self.region,
            needed=sorted(self.needed),
            node=node,
            seconds=sum(self.limits.values()),
            grow_seconds=GROW_SECONDS
            if observe.file_system_lags(self.claim, self._persistent_volume())
            else 0.0,
            folder=self.folder,
        )
        self.watched.add(self.cluster.apply(job)["metadata"]["uid"])
        self._enter("creating")
        whole = human_bytes(self.staged.total_bytes)
        self.reporter.say(f"job {self.job} sees to {whole} on {self.name}, and copies what is not there")

    def _delete_claim(self) -> None:
        self.reporter.say(
            f"claim {self.name} is too small or of another class, and has no volume yet: it is made anew"
        )
        self.cluster.delete("v1", "PersistentVolumeClaim", self.name, self.namespace)

    def _delete_job(self) -> None:
        self.reporter.say(f"job {self.job} is from an earlier run: it is run again")
        self.cluster.delete("batch/v1", "Job", self.job, self.namespace)

    def _wait(self, phase: str) -> None:
        """Something is being deleted (a claim is only gone when no pod mounts it any more), or the volume grows."""
        if self.phase != phase:
            self._enter(phase)
        if self.clock() - (self.since or 0.0) > self.limits[phase]:
            raise self.overdue(phase, self.limits[phase])

    def _persistent_volume(self) -> Object | None:
        name = self.claim["spec"].get("volumeName") if self.claim else None
        return self.cluster.get("v1", "PersistentVolume", name) if name else None

    def _watch(self) -> None:
        """One look at the running job: tell its progress, raise what is wrong with it."""
        self.pod = self.pods[-1] if self.pods else None
        node = (self.pod or {"spec": {}})["spec"].get("nodeName")
        node_is_lost = bool(node) and observe.is_lost(self.cluster.get("v1", "Node", node))
        phase = observe.pod_phase(self.pod, self.claim, node_is_lost=node_is_lost)
        if phase != self.phase or self.since is None:
            self._enter(phase)
        if self.pod is not None:
            self._look_at(self.pod)
        if self.clock() - (self.since or 0.0) > self.limits[phase]:
            raise self.overdue(phase, self.limits[phase])

    def _look_at(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        waiting = observe.waiting_reason(pod)
        if waiting and self.clock() - (self.since or 0.0) > UNPULLABLE_SECONDS:
            problem = failures.unpullable(*waiting, self.cluster.events(self.namespace, name), self.place)
            if problem:
                raise problem
        if self.phase == "scheduling" and self.clock() - (self.since or 0.0) > UNPLACEABLE_SECONDS:
            self._check_zone()
        if self.phase != "running":
            return
        try:
            self._tell(observe.said(self.cluster.logs(self.namespace, name, manifests.CONTAINER, LOG_LINES)))
        except (
            ClusterError
        ) as error:  # a node counts as Ready for 40 s after its last word; the deadline goes on
            self._tell(observe.Said(notes=(f"the job's log cannot be read now: {error.cause}",)))
        ended = observe.exit_of(pod)
        if ended and ended[0] in self.permanent:
            raise self._ended(pod)

    def _check_zone(self) -> None:
        name = self.claim["spec"].get("volumeName") if self.claim else None
        if not name:
            return
        volume, zone = self._volume_place(name)
        if zones := observe.other_zones(zone, self._gpu_nodes()):
            raise failures.another_zone(volume, zone, zones, self.place)

    def _gpu_nodes(self) -> list[Object]:
        gpu = self.environment.cluster.gpu
        return self.cluster.list("v1", "Node", label_selector=f"{gpu.label_key}={gpu.label_value}")

    def _tell(self, said: observe.Said) -> None:
        if said.progress:
            self.reporter.progress(*said.progress)
        for note in said.notes:
            if note not in self.told:
                self.told.add(note)
                self.reporter.say(note)

    def _record(self) -> None:
        """The job succeeded: mark the claim, so that the next run knows without a job."""
        lines = ""
        for pod in self.pods:
            if (observe.exit_of(pod) or (1, ""))[0] == 0:
                lines = self.cluster.logs(
                    self.namespace, pod["metadata"]["name"], manifests.CONTAINER, LOG_LINES
                )
        said = observe.said(lines)
        if said.done is None or said.done["commit"] != self.staged.commit:
            raise WarmingFailed(
                f"job {self.job} succeeded but did not say what it did",
                evidence=lines.splitlines()[-10:],
                next_command=f"kubectl -n {self.namespace} delete job {self.job}, then deploy again",
            )
        self._tell(said)
        self.copied = int(said.done["bytes_copied"])
        self.reporter.say(
            f"{human_bytes(self.copied) if self.copied else 'nothing'} was copied to {self.name}"
        )
        marks = {
            manifests.WARM: self.staged.commit,
            manifests.WARM_MANIFEST: self.staged.manifest_sha256,
            manifests.HELD: json.dumps(said.done["held"]),
        }
        self.cluster.patch(
            "v1", "PersistentVolumeClaim", self.name, {"metadata": {"annotations": marks}}, self.namespace
        )

    def _fail_job(self) -> None:
        failed = [pod for pod in self.pods if observe.exit_of(pod)]
        raise self._ended(failed[-1]) if failed else self.overdue(self.phase, self.limits[self.phase])

    def _fail_claim(self) -> None:
        raise failures.lost(self.place)

    def _ended(self, pod: Object) -> WarmingFailed:
        code, reason = observe.exit_of(pod) or (1, "")
        lines = self.cluster.logs(self.namespace, pod["metadata"]["name"], manifests.CONTAINER, LOG_LINES)
        said = observe.said(lines)
        own_word = str(said.error["cause"]) if said.error else None
        return failures.ended(code, reason, own_word, lines.splitlines(), self.place)

    def overdue(self, phase: str, seconds: float) -> WarmingFailed:
        pod = self.pod["metadata"]["name"] if self.pod else None
        events = self.cluster.events(self.namespace, pod or self.job)
        of_claim = self.cluster.events(self.namespace, self.name)
        return failures.overdue(phase, seconds, pod, events, of_claim, self.place)

    def _pods(self) -> list[Object]:
        """The job's pods, oldest first."""
        pods = self.cluster.list("v1", "Pod", self.namespace, label_selector=f"job-name={self.job}")
        return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    def _enter(self, phase: str) -> None:
        self.phase, self.since = phase, self.clock()
        words = {
            "scheduling": "waiting for a GPU node",
            "volume": "waiting for the volume",
            "starting": f"starting {self.model.engine.image}",
            "running": "copying",
            "lost": "its node stopped answering: waiting for it or for another",
        }
        if phase in words:
            self.reporter.say(f"{words[phase]} (at most {human_seconds(self.limits[phase])})")

    def result(self, *, reused: bool) -> WarmCache:
        if self.claim is None:
            raise failures.lost(self.place)
        volume_id, zone = self._volume_place(self.claim["spec"]["volumeName"])
        self.claims.tell_differences(volume_id, self._volume())
        if reused:
            self.reporter.say(f"{self.name} holds {self.staged.commit[:12]} already")
        return WarmCache(
            namespace=self.namespace,
            claim=self.name,
            path=manifests.folder_of(self.staged.repo, self.staged.commit),
            volume_id=volume_id,
            zone=zone,
            commit=self.staged.commit,
            bytes_copied=self.copied or 0,
            reused=reused,
        )

    def _volume_place(self, name: str) -> tuple[str, str]:
        """(EBS volume id, zone) of a persistent volume."""
        volume = self.cluster.get("v1", "PersistentVolume", name)
        if volume is None:
            raise failures.lost(self.place)
        return str(volume["spec"].get("csi", {}).get("volumeHandle", "")), observe.zone_of(volume)
