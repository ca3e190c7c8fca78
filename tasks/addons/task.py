"""Install and uninstall add-ons, as Prefect tasks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.webhook import Webhook

from tasks.addons import alertmanager, balancer, node_pool, probe
from tasks.addons.catalogue import Addon, chart_source, chosen, load_addons, own_values, values_files
from tasks.addons.helm import Helm, bundle_description, is_deployed
from tasks.addons.owners import Owner, make_namespace, mark, owner_of, remove_namespaces, unmark
from tasks.addons.proofs import PROOFS, Installed, clear, prove
from tasks.cloud.instance_types import gpus_of
from tasks.cloud.node_image import pinned
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import AddonNotReady, ClusterError, InputError
from tasks.records.names import WEBHOOK_BLOCK
from tasks.records.progress import Reporter
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, task, transient


def read_addons(environment: Environment) -> list[Addon]:
    """The environment's add-ons, each after those it needs. Raises InvalidDocument."""
    return chosen(load_addons(project_root()), environment)


@task(
    task_run_name="add-on {addon.name}",
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=transient,
    **SETTINGS,
)
def install_addon(site: Site, addon: Addon, unproven: bool = False) -> str:
    """Install or upgrade one add-on and wait until it is proven; its name. `unproven`: what proves it is not there yet.

    One that is deployed from this very chart and values and proves itself at the first look is left alone. One that
    somebody else installed is taken as it is: proven in the same way, never upgraded.
    """
    reporter, root, cluster = RunReporter("add-ons"), project_root(), site.cluster()
    environment = site.environment
    installed = Installed(addon, cluster, environment, root)
    if addon.chart:
        helm = Helm(cluster, deadline=environment.deadlines.addon, on_line=reporter.say)
        history = helm.history(addon)
        owner = owner_of(addon, environment, cluster, history)
        if owner.whose == "theirs":
            reporter.say(f"{addon.name}: {owner.told}: taken as it is")
            theirs = Installed(addon, cluster, environment, root, owner.namespace)
            check_taken(theirs, owner)
            if not unproven:
                prove(theirs, reporter)
            return addon.name
        check_own(installed, owner)
        chart = chart_source(addon, environment, root)
        with tempfile.TemporaryDirectory(prefix="slipway-values-") as folder:
            placement = Path(folder) / "placement.yaml"
            placement.write_text(yaml.safe_dump(own_values(addon, environment, site.infrastructure.vpc_id)))
            values = [*values_files(addon, environment, root), placement]
            unchanged = is_deployed(history, bundle_description(chart, values))
            if unchanged and addon.provisioner:
                apply_node_pool(site)
            if unchanged and unproven:
                return addon.name
            if unchanged and not PROOFS[addon.proof](installed):
                clear(installed)
                reporter.say(f"{addon.name} {addon.version}: deployed already, proven ({addon.proof})")
                return addon.name
            reporter.say(f"{addon.name} {addon.version}: helm upgrade --install")
            mark(addon, environment, cluster)
            make_namespace(addon, environment, cluster)
            if addon.proof == "metrics-answer" and environment.alerts.webhook:
                # before the Alertmanager that mounts it
                alertmanager.bring_address(cluster, addon.namespace, webhook_address(environment))
            helm.install(addon, chart, values, history)
            if addon.provisioner:
                apply_node_pool(site)
    if not unproven:
        prove(installed, reporter)
    return addon.name


def check_taken(theirs: Installed, owner: Owner) -> None:
    """Raises AddonNotReady where somebody else's cannot be used and would fight one of ours."""
    addon, environment = theirs.addon, theirs.environment
    if (
        addon.proof == "metrics-answer"
        and not environment.existing.prometheus
        and PROOFS[addon.proof](theirs)
    ):
        raise AddonNotReady(
            f"there is a Prometheus operator already, a second one would fight it: {owner.told}",
            next_command="name its Prometheus in existing.prometheus of the environment's file: kubectl get prometheus -A",
        )


def check_own(installed: Installed, owner: Owner) -> None:
    """Raises AddonNotReady where only the cluster's owner can install it: terraform gives a role in a cluster of ours only."""
    existing = installed.environment.existing.cluster
    if installed.addon.gateway_tls and existing and owner.whose == "nobody":
        raise AddonNotReady(
            f"{existing} has no AWS Load Balancer Controller, which gateway.tls needs",
            next_command="install it with its role: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/installation/",
        )


def check_webhook(environment: Environment) -> None:
    """Raises InputError where alerts are to be told and Prefect has no address."""
    if environment.alerts.webhook:
        webhook_address(environment)


def webhook_address(environment: Environment) -> str:
    """The address that alerts go to, of Prefect's block. Raises InputError where nobody has made it."""
    try:
        block: Any = Webhook.load(WEBHOOK_BLOCK, _sync=True)  # type: ignore[call-arg]
    except ValueError as missing:
        raise InputError(
            f"alerts.webhook of {environment.name} is on, and Prefect has no address to tell",
            evidence=[f"there is no Webhook block {WEBHOOK_BLOCK}"],
            next_command="slipway prefect apply --webhook URL",
        ) from missing
    return str(block.url.get_secret_value())


@task(task_run_name="add-on {addon.name}", **SETTINGS)
def find_addon(site: Site, addon: Addon) -> str:
    """Look whether an add-on brings what it must, and install nothing; its name. Raises AddonNotReady."""
    cluster = site.cluster()
    elsewhere = ""
    if addon.chart:
        helm = Helm(cluster, deadline=site.environment.deadlines.addon, on_line=RunReporter("add-ons").say)
        owner = owner_of(addon, site.environment, cluster, helm.history(addon))
        elsewhere = owner.namespace if owner.whose == "theirs" else ""
    if addon.proof in ("claim-binds", "load-balancer-made"):
        # the proof makes something: the volume that warming waits for, or the gateway's own load balancer, tells as much
        return addon.name
    if missing := PROOFS[addon.proof](Installed(addon, cluster, site.environment, project_root(), elsewhere)):
        raise AddonNotReady(
            f"{addon.name} does not bring what it must: {missing[0]}",
            evidence=missing[1:],
            next_command=f"slipway deploy MODEL -e {site.name}, without --from-stage: it installs add-ons",
        )
    return addon.name


def apply_node_pool(site: Site) -> None:
    """Apply what tells Karpenter which GPU nodes to make: on every deploy, as the settings may have changed."""
    gpu, reporter = site.environment.cluster.gpu, RunReporter("add-ons")
    documents = node_pool.documents(
        site.environment,
        site.infrastructure.gpu_zone,
        gpus_of(site.aws(), gpu.instance_type),
        project_root(),
        node_pool.affordable(site.environment, site.aws(), reporter),
        pinned(gpu.ami, site.aws(), site.environment.cluster.kubernetes_version),
    )
    for document in documents:
        site.cluster().apply(document)
    for line in node_pool.remove_base(site.cluster(), documents):
        reporter.say(line)


@task(task_run_name="add-ons of {site.name} go", **SETTINGS)
def uninstall_addons(site: Site, addons: Sequence[Addon]) -> list[str]:
    """Uninstall this environment's add-ons, the last first; the names of those that were installed."""
    reporter, cluster = RunReporter("teardown"), site.cluster()
    helm = Helm(cluster, deadline=site.environment.deadlines.addon, on_line=reporter.say)
    removed = []
    for addon in reversed(addons):
        if addon.proof == "claim-binds":
            remove_probe(site, addon.namespace, reporter)
        if addon.proof == "load-balancer-made":
            balancer.remove(cluster, site.environment, addon.namespace)
        if not addon.chart:
            continue
        owner = owner_of(addon, site.environment, cluster, helm.history(addon))
        if owner.whose == "theirs":
            reporter.say(f"{addon.name} stays: {owner.told}")
        elif helm.uninstall(addon):
            reporter.say(f"uninstalled {addon.name}")
            removed.append(addon.name)
        if owner.whose == "ours":
            unmark(addon, cluster)
    # in a cluster of our own they go with it
    if site.environment.existing.cluster:
        for name in remove_namespaces(addons, site.environment, cluster):
            reporter.say(f"removed Namespace {name}")
    return removed


def remove_probe(site: Site, namespace: str, reporter: Reporter) -> None:
    """Remove what a deploy left of the claim that proves the EBS CSI driver, its volume before the driver goes.

    Raises ClusterError in an existing cluster, where it would stay.
    """
    cluster, environment = site.cluster(), site.environment
    probe.remove(cluster, environment, namespace, project_root())
    try:
        probe.await_removal(cluster, environment, namespace)
    except ClusterError as error:
        if environment.existing.cluster:
            raise
        # a cluster of ours goes all the same: the inventory lists the volume that it leaves in EC2
        for line in (error.cause, *error.evidence):
            reporter.say(line)
