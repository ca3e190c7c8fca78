"""Watch what serves, as a Prefect task."""

from __future__ import annotations

from tasks.alerts import rules
from tasks.cloud import objects
from tasks.records.model import Model
from tasks.releases.records import ReleaseRecord
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, task


@task(task_run_name="alerts of {model.name}", **SETTINGS)
def apply_alerts(site: Site, model: Model, record: ReleaseRecord) -> list[str]:
    """Apply the alerting rules of a proven release, and of the gateway; the alerts' names.

    One that an earlier file of the model brought and this one does not goes.
    """
    deployment = next(each for each in record.documents if each["kind"] == "Deployment")
    start = float(objects.spec(deployment)["progressDeadlineSeconds"])
    documents = rules.documents(model, site.environment, start)
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
