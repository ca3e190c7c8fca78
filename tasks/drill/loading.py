"""The drill's load: callers in a Job of the cluster, which ends with the block whatever happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tasks.cloud import inside
from tasks.cloud.jobs import RunningJob, running
from tasks.cloud.waiting import REAL, Time
from tasks.drill.observe import Place
from tasks.records.errors import ValidationFailed
from tasks.records.load import Load
from tasks.records.objectives import EachRequest
from tasks.records.progress import Reporter
from tasks.records.reports import Measured
from tasks.validation.in_cluster import program_of
from tasks.validation.proof import instructions_for, longest, read_measured, sent_to


class Running(Protocol):
    """A load that is being sent. Both raise ValidationFailed where the generator failed."""

    def look(self) -> object: ...

    def measured(self) -> Measured: ...


# (name, load): sends it while the block lasts
Loading = Callable[[str, Load], AbstractContextManager[Running]]


@dataclass(frozen=True)
class InJob:
    """A load in a Job."""

    job: RunningJob
    key: str

    def look(self) -> object:
        return self.job.look()

    def measured(self) -> Measured:
        """Wait for its end; the figures."""
        lines = self.job.wait()
        return read_measured(lines, lines[-10:], self.key)


def by_job(place: Place, key: str, root: Path, reporter: Reporter, time: Time = REAL) -> Loading:
    """Loads in Jobs beside the gateway. `key`: Slipway's own API key; `root`: the project's folder."""

    @contextmanager
    def loading(name: str, load: Load) -> Iterator[Running]:
        cluster, environment, model = place.cluster, place.environment, place.model
        told = instructions_for(
            load,
            "",
            model.name,
            each=EachRequest(),
            max_model_len=model.engine.max_model_len,
            root=root,
        )
        told = sent_to(told, inside.asked_at(cluster, environment, model.name))
        program = replace(program_of(told, model.name), name=f"drill-{name}-{model.name}")
        reporter.say(f"{load}, for at most {load.window:.0f} s")
        with running(
            cluster,
            environment,
            model.name,
            program,
            seconds=longest(told),
            failed=ValidationFailed,
            say=reporter.detail,
            time=time,
        ) as job:
            yield InJob(job, key)

    return loading
