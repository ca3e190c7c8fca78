"""Run the load generator as a Job in the cluster, beside the gateway: its instructions go in by ConfigMap, figures come by log.

The log and not the model bucket: it is one line a second and one of about 30 KB at the end, and a pod that holds the API key
then needs no AWS role and no way out of the cluster.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tasks.cloud import inside
from tasks.cloud.jobs import running
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.waiting import REAL, Time
from tasks.records.environment import Environment
from tasks.records.errors import ValidationFailed
from tasks.records.model import Model
from tasks.records.objectives import EachRequest
from tasks.records.progress import Reporter
from tasks.records.reports import LoadReport, Measured
from tasks.validation.load.instructions import Instructions
from tasks.validation.proof import instructions_for, longest, progress_to, prove_by, read_measured

MODULE = "tasks.validation.load"
# a CNI learns of a new pod's address within seconds: a policy that does not let it in by then will not
PATIENCE_SECONDS = 30.0
TRACE, PROMPTS = "trace.csv", "prompts.jsonl"


def prove_inside(
    cluster: Cluster,
    environment: Environment,
    model: Model,
    key: str,
    reporter: Reporter,
    *,
    root: Path,
    time: Time = REAL,
) -> LoadReport:
    """Put the load of the model's file on the gateway from inside the cluster and judge it.

    Raises ValidationFailed with what kept the Job from it, ClusterError, InputError for files that do not fit.
    """

    def generator(instructions: Instructions) -> Measured:
        with running(
            cluster,
            environment,
            model.name,
            program_of(instructions, model.name),
            seconds=longest(instructions) + PATIENCE_SECONDS,
            failed=ValidationFailed,
            say=reporter.say,
            time=time,
        ) as job:
            lines = job.wait(progress_to(reporter))
        return read_measured(lines, lines[-10:], key)

    at = inside.asked_at(cluster, environment, model.name)
    return prove_by(generator, model, at, reporter, root=root, measure_from="cluster")


def program_of(instructions: Instructions, model: str) -> inside.Program:
    """The generator with its instructions and the files they name."""
    root = Path(instructions.root)
    files: dict[str, bytes] = {}
    told = replace(instructions, root=".", patience=PATIENCE_SECONDS)
    if told.trace:
        files[TRACE] = (root / told.trace.file).read_bytes()
        told = replace(told, trace=replace(told.trace, file=inside.packed_name(TRACE)))
    if told.prompts:
        files[PROMPTS] = (root / told.prompts).read_bytes()
        told = replace(told, prompts=inside.packed_name(PROMPTS))
    return inside.Program(f"load-{model}", MODULE, told.write(), files)


def check_size(model: Model, root: Path) -> None:
    """Raises InputError where the files of the model's load do not fit into a Job."""
    told = instructions_for(model.asked_load, "", model.name, each=EachRequest(), root=root)
    inside.check_size(program_of(told, model.name))
