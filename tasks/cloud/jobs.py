"""Run one of our programs as a Job in the cluster: start it, follow its log, remove it whatever happened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tasks.cloud import inside, objects
from tasks.cloud.job_failures import Failures, Limits, Phase, phase_of
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, until_none
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError, SlipwayError
from tasks.records.names import RUN_LABEL, VALIDATION
from tasks.records.quantities import human_seconds

JOB = ("batch/v1", "Job")
LOOK_SECONDS = 0.5
NEWS_LINES = 5  # of the log at each look: the program says something once a second
LAST_LINES = 100
REMOVAL_SECONDS = 60.0
SLACK_SECONDS = (
    30.0  # Kubernetes ends the Job so much later than we give it up: our words are the better ones
)


@contextmanager
def running(
    cluster: Cluster,
    environment: Environment,
    model: str,
    program: inside.Program,
    *,
    seconds: float,
    failed: type[SlipwayError],
    say: Callable[[str], None],
    time: Time = REAL,
) -> Iterator[RunningJob]:
    """Run `program` as a Job during the block; it and its ConfigMap are gone after it, also where the run is cancelled.

    Args:
        model: its name, for labels.
        seconds: how long the program may run, once it has started.
        failed: the kind of error to raise.
    """
    limits = Limits(starting=environment.deadlines.pod_start, running=seconds)
    whole = limits.starting + limits.running + SLACK_SECONDS
    job = inside.job(environment, model, program, seconds=whole)
    failures = Failures(environment, program.name, limits, failed)
    _remove_leftovers(cluster, environment.namespace, failures, time)
    try:
        policies = inside.policies_of_pods(environment) if program.pods else []
        for policy in [inside.policy(environment), *policies]:
            cluster.apply(policy)
        files = inside.config_map(environment, program)
        cluster.apply(files)
        uid = str(cluster.apply(job)["metadata"]["uid"])
        _make_owner(cluster, files, job, uid)
        yield RunningJob(cluster, job, uid, failures, say, time)
    finally:
        # where the API server is away, the Job's deadline and its time to live remove both
        with contextlib.suppress(ClusterError):
            _remove(cluster, environment.namespace, program.name)
            for policy in inside.policies_of_pods(environment) if program.pods else []:
                cluster.delete(
                    policy["apiVersion"], policy["kind"], objects.name(policy), environment.namespace
                )


@dataclass
class RunningJob:
    """A Job that was started."""

    cluster: Cluster
    job: Object
    uid: str
    failures: Failures
    say: Callable[[str], None]
    time: Time
    pod: Object | None = None
    phase: Phase = "creating"
    _since: float = field(default=0.0, init=False)
    _began: float = field(default=0.0, init=False)
    _heard: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._began = self._since = self.time.clock()
        self.say(
            f"job {objects.name(self.job)}: asking from inside the cluster, in {self.image} "
            f"(starts within {human_seconds(self.failures.limits.starting)})"
        )

    @property
    def image(self) -> str:
        return str(self.job["spec"]["template"]["spec"]["containers"][0]["image"])

    @property
    def namespace(self) -> str:
        return str(self.job["metadata"]["namespace"])

    def wait(self, hear: Callable[[str], None] = lambda line: None) -> list[str]:
        """Wait until the program has ended well and return the last lines of its log. `hear` gets each new line.

        Raises the kind of error that `running` was given, Interrupted.
        """
        while True:
            phase = self.look()
            for line in self._news():
                hear(line)
            if phase == "succeeded":
                return self._log(LAST_LINES)
            self.time.sleep(LOOK_SECONDS)

    def wait_for_line(self) -> str:
        """Wait for the next line of the log that was not heard before. Raises as `wait`."""
        while True:
            self.look()
            if news := self._news():
                return news[-1]
            self.time.sleep(LOOK_SECONDS)

    def look(self) -> Phase:
        """Look once. Raises the explanation where the program has failed, cannot start, or is late."""
        before = self.pod
        self.pod = self._newest_pod()
        phase = phase_of(self.pod)
        now = self.time.clock()
        if phase != self.phase:
            self.phase, self._since = phase, now
        since = self._since if phase == "running" else self._began
        if phase == "failed":
            raise self.failures.ended(self.pod or {}, self._log(LAST_LINES))
        if self.pod is None:
            name = objects.name(self.job)
            found = self.cluster.get(*JOB, name, self.namespace)
            if problem := self.failures.no_pod(found, had_pod=before is not None, waited=now - since):
                raise self.failures.with_events(problem, self.cluster.events(self.namespace, name))
        elif problem := self.failures.overdue(self.pod, phase, waited=now - since):
            events = self.cluster.events(self.namespace, objects.name(self.pod))
            raise self.failures.with_events(problem, events)
        return phase

    def _newest_pod(self) -> Object | None:
        """Of this Job: an earlier one of its name may still have a pod."""
        selector = f"job-name={objects.name(self.job)}"
        pods = [
            pod
            for pod in self.cluster.list("v1", "Pod", self.namespace, label_selector=selector)
            if any(owner["uid"] == self.uid for owner in pod["metadata"].get("ownerReferences") or ())
        ]
        return pods[-1] if pods else None

    def _news(self) -> Sequence[str]:
        if self.phase not in ("running", "succeeded"):
            return ()
        lines = self._log(NEWS_LINES)
        new = lines[lines.index(self._heard[-1]) + 1 :] if self._heard and self._heard[-1] in lines else lines
        self._heard = lines or self._heard
        return new

    def _log(self, lines: int) -> list[str]:
        if self.pod is None:
            return []
        return self.cluster.logs(self.namespace, objects.name(self.pod), tail=lines).splitlines()


def _make_owner(cluster: Cluster, files: Object, job: Object, uid: str) -> None:
    """Let Kubernetes delete the ConfigMap with the Job, for a run that is killed."""
    owner = {"apiVersion": JOB[0], "kind": JOB[1], "name": objects.name(job), "uid": uid}
    metadata = files["metadata"]
    body = {"metadata": {"ownerReferences": [owner]}}
    cluster.patch("v1", "ConfigMap", metadata["name"], body, metadata["namespace"])


def _remove(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.delete(*JOB, name, namespace)
    cluster.delete("v1", "ConfigMap", name, namespace)


def _remove_leftovers(cluster: Cluster, namespace: str, failures: Failures, time: Time) -> None:
    """Remove what a run that was killed left, and wait until it asks no more. Raises the explanation."""
    selector = f"app={VALIDATION},{RUN_LABEL}!={inside.RUN}"
    left = cluster.list(*JOB, namespace, label_selector=selector)
    for job in left:
        _remove(cluster, namespace, objects.name(job))
    for files in cluster.list("v1", "ConfigMap", namespace, label_selector=selector):
        cluster.delete("v1", "ConfigMap", objects.name(files), namespace)
    if left:
        until_none(
            lambda: objects.living(cluster.list("v1", "Pod", namespace, label_selector=selector)),
            REMOVAL_SECONDS,
            lambda pods: failures.leftovers([objects.name(pod) for pod in pods]),
            time,
        )
