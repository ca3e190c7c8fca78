"""Install and uninstall add-ons, as Prefect tasks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from prefect import task

from tasks.addons.catalogue import Addon, chart_source, load_addons, placement_values, values_files
from tasks.addons.helm import Helm, bundle_description, is_deployed
from tasks.addons.proofs import PROOFS, Installed, prove
from tasks.records.catalogue import project_root
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, transient


def read_addons() -> list[Addon]:
    """The project's add-ons, each after those it needs. Raises InvalidDocument."""
    return load_addons(project_root())


@task(
    task_run_name="add-on {addon.name}",
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=transient,
    **SETTINGS,
)
def install_addon(site: Site, addon: Addon) -> str:
    """Install or upgrade one add-on and wait until it is proven; its name.

    One that is deployed from this very chart and values and proves itself at the first look is left alone.
    """
    reporter, root, cluster = RunReporter("add-ons"), project_root(), site.cluster()
    environment = site.environment
    installed = Installed(addon, cluster, environment, root)
    if addon.chart:
        helm = Helm(cluster, deadline=environment.deadlines.addon, on_line=reporter.say)
        chart = chart_source(addon, environment, root)
        with tempfile.TemporaryDirectory(prefix="slipway-values-") as folder:
            placement = Path(folder) / "placement.yaml"
            placement.write_text(yaml.safe_dump(placement_values(environment) if addon.gpu_nodes else {}))
            values = [*values_files(addon, environment, root), placement]
            history = helm.history(addon)
            if is_deployed(history, bundle_description(chart, values)) and not PROOFS[addon.proof](installed):
                reporter.say(f"{addon.name} {addon.version}: deployed already, proven ({addon.proof})")
                return addon.name
            reporter.say(f"{addon.name} {addon.version}: helm upgrade --install")
            helm.install(addon, chart, values, history)
    prove(installed, reporter)
    return addon.name


@task(task_run_name="add-ons of {site.name} go", **SETTINGS)
def uninstall_addons(site: Site, addons: Sequence[Addon]) -> list[str]:
    """Uninstall add-ons, the last first; the names of those that were installed."""
    reporter = RunReporter("teardown")
    helm = Helm(site.cluster(), deadline=site.environment.deadlines.addon, on_line=reporter.say)
    removed = []
    for addon in reversed(addons):
        if addon.chart and helm.uninstall(addon):
            reporter.say(f"uninstalled {addon.name}")
            removed.append(addon.name)
    return removed
