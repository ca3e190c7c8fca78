"""Watch what serves, as a Prefect task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.alerts import rules
from tasks.cloud import objects
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.names import workload
from tasks.releases.records import ReleaseRecord
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, task


def preview(environment: Environment, model: Model, served: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The alerting rules of a release, by the documents that serve it."""
    name = workload(model)
    deployment = next(d for d in served if d["kind"] == "Deployment" and objects.name(d) == name)
    return rules.documents(model, environment, float(objects.spec(deployment)["progressDeadlineSeconds"]))


@task(task_run_name="alerts of {model.name}", **SETTINGS)
def apply_alerts(site: Site, model: Model, record: ReleaseRecord) -> list[str]:
    """Apply the alerting rules of a proven release, and of the gateway; the alerts' names.

    One that an earlier file of the model brought and this one does not goes.
    """
    documents = preview(site.environment, model, record.documents)
    for document in documents:
        site.cluster().apply(document)
    alerts = sorted(
        {
            rule["alert"]
            for document in documents
            for group in document["spec"]["groups"]
            for rule in group["rules"]
        }
    )
    RunReporter("alerts").say(f"{len(alerts)} alerts on {model.name}: {', '.join(alerts)}")
    return alerts
