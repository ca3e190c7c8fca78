"""Idle scale-down and wake as Prefect tasks."""

from __future__ import annotations

import time

from prefect import task

from tasks.cloud.prometheus import prometheus_of
from tasks.idle import scale
from tasks.idle.decide import decide
from tasks.idle.observe import observe
from tasks.records.errors import MetricsUnavailable
from tasks.records.model import Model
from tasks.records.results import IdleDecision
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, show_table


@task(task_run_name="is {model.name} idle", **SETTINGS)
def judge_idle(site: Site, model: Model) -> IdleDecision:
    """Whether the GPUs may go. No answer from the metrics means no."""
    reporter = RunReporter("idle")
    cluster, environment = site.cluster(), site.environment
    try:
        signals = observe(cluster, prometheus_of(environment, cluster), model, environment, time.time)
        decision = decide(signals, model.scaling)
    except MetricsUnavailable as error:
        decision = IdleDecision(
            act=False, reason=f"{error.cause}: not taken for idle", evidence=error.evidence
        )
    reporter.say(f"{'scale down' if decision.act else 'leave as it is'}: {decision.reason}")
    show_table(
        f"idle-{model.name}",
        [{"evidence": line} for line in decision.evidence],
        f"{'Idle' if decision.act else 'Not idle'}: {decision.reason}",
    )
    return decision


@task(task_run_name="{model.name} to zero", **SETTINGS)
def replicas_to_zero(site: Site, model: Model) -> list[str]:
    """No replica any more; the pods that still hold a GPU, of anyone."""
    cluster = site.cluster()
    scale.to_zero(cluster, model, site.environment, RunReporter("idle"))
    return scale.gpu_pods(cluster, site.environment)


@task(task_run_name="{model.name} from zero", **SETTINGS)
def replicas_from_zero(site: Site, model: Model) -> None:
    """KEDA in charge again, from its minimum."""
    scale.from_zero(site.cluster(), model, site.environment)
