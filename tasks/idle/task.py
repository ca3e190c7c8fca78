"""Decide on idleness, scale to zero and back, as Prefect tasks."""

from __future__ import annotations

import time

from tasks.cloud.prometheus import prometheus_of
from tasks.idle import scale
from tasks.idle.decide import decide
from tasks.idle.observe import observe
from tasks.records.errors import MetricsUnavailable
from tasks.records.model import Model
from tasks.records.results import IdleDecision, ScaledDown
from tasks.releases.task import ledger_of
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, show_table, task


@task(task_run_name="is {model.name} idle", **SETTINGS)
def judge_idle(site: Site, model: Model) -> IdleDecision:
    """Whether the model is idle. It is not where Prometheus does not answer."""
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
        nothing="no evidence",
    )
    return decision


@task(task_run_name="{model.name} to zero", **SETTINGS)
def replicas_to_zero(site: Site, model: Model) -> ScaledDown:
    """Scale the model to zero, unless a request wakes it meanwhile; who still holds a GPU."""
    cluster = site.cluster()
    if model.scaling.scale_to_zero and (seconds := expected_start(site, model)):
        scale.expect(cluster, model, site.environment, seconds)
    asleep = scale.to_zero(cluster, model, site.environment, RunReporter("idle"))
    return ScaledDown(asleep=asleep, holders=tuple(scale.gpu_pods(cluster, site.environment)))


def expected_start(site: Site, model: Model) -> float | None:
    """Seconds that the ledger's last start from zero took; None where the release has none."""
    ledger = ledger_of(site, model)
    serving = ledger.serving().serving
    return ledger.record(serving).expected_start if serving else None


@task(task_run_name="{model.name} from zero", **SETTINGS)
def replicas_from_zero(site: Site, model: Model) -> None:
    """Let KEDA scale the model again, from its minimum."""
    scale.from_zero(site.cluster(), model, site.environment)
