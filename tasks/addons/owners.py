"""Tell whose an add-on is: this environment's, somebody else's, or nobody's. Only what is ours is changed or removed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.addons.catalogue import Addon
from tasks.addons.helm import DESCRIPTION
from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, until
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError

# what a cluster-wide part of an add-on runs as
WORKLOADS = (("apps/v1", "Deployment"), ("apps/v1", "DaemonSet"), ("apps/v1", "StatefulSet"))
RELEASE, RELEASE_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
MARK_NAMESPACE = "kube-system"
ENVIRONMENT_LABEL = "slipway.dev/environment"


@dataclass(frozen=True)
class Owner:
    """Whose an add-on is; `told`: what says so, for the run's lines. `namespace`: where somebody else's runs."""

    whose: Literal["ours", "theirs", "nobody"]
    told: str = ""
    namespace: str = ""


def owner_of(
    addon: Addon, environment: Environment, cluster: Cluster, history: Sequence[Mapping[str, Any]]
) -> Owner:
    """Whose the add-on is in this cluster. `history`: of helm's release of its name in its namespace."""
    mark = cluster.get("v1", "ConfigMap", _mark_name(addon), MARK_NAMESPACE)
    workloads = [
        {"kind": kind, **item}
        for api, kind in WORKLOADS
        for item in cluster.list(api, kind)
        if runs(item, addon)
    ]
    return decide_owner(addon, environment, mark, history, workloads)


def decide_owner(
    addon: Addon,
    environment: Environment,
    mark: Object | None,
    history: Sequence[Mapping[str, Any]],
    workloads: Sequence[Object],
) -> Owner:
    """By the mark that an install leaves first, then by the release's own history, then by what runs. Pure."""
    marked_for = objects.labels(mark).get(ENVIRONMENT_LABEL) if mark else None
    if marked_for == environment.name:
        return Owner("ours", "this environment installed it")
    if marked_for:
        return Owner("theirs", f"the environment {marked_for} installed it", addon.namespace)
    if any(str(entry.get("description", "")).startswith(DESCRIPTION) for entry in history):
        # installed before installs left a mark
        return Owner("ours", "Slipway installed it")
    if history and environment.existing.cluster:
        return Owner("theirs", f"helm release {addon.namespace}/{addon.name}", addon.namespace)
    if history:
        # a killed install into a cluster of our own
        return Owner("ours", "it is in this environment's own cluster")
    if addon.proof == "metrics-answer" and environment.existing.prometheus:
        server = environment.existing.prometheus
        return Owner("theirs", f"existing.prometheus is {server.address}", server.namespace)
    for item in workloads:
        notes = objects.annotations(item)
        where = f"{item['kind']} {item['metadata']['namespace']}/{objects.name(item)}"
        by = f" of helm release {notes.get(RELEASE_NAMESPACE)}/{notes[RELEASE]}" if RELEASE in notes else ""
        return Owner("theirs", where + by, str(item["metadata"]["namespace"]))
    return Owner("nobody")


def runs(workload: Object, addon: Addon) -> bool:
    """Whether a workload runs the add-on's program, by its image's name without registry and tag."""
    containers = workload["spec"]["template"]["spec"].get("containers") or ()
    return any(addon.image and f"/{addon.image}:" in f"/{_tagged(str(c.get('image')))}" for c in containers)


def _tagged(image: str) -> str:
    """An image with a tag, whether it was named by one or by a digest."""
    name = image.partition("@")[0]
    return name if ":" in name.rpartition("/")[2] else f"{name}:"


def _mark_name(addon: Addon) -> str:
    return f"slipway-addon-{addon.name}"


def mark(addon: Addon, environment: Environment, cluster: Cluster) -> None:
    """Note in the cluster that this environment installs the add-on, before helm begins."""
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": _mark_name(addon),
                "namespace": MARK_NAMESPACE,
                "labels": {"app.kubernetes.io/managed-by": "slipway", ENVIRONMENT_LABEL: environment.name},
            },
            "data": {"release": f"{addon.namespace}/{addon.name}"},
        }
    )


def make_namespace(addon: Addon, environment: Environment, cluster: Cluster) -> None:
    """Make the add-on's namespace where it is not there, and label it as this environment's: helm would give it no label."""
    if cluster.get("v1", "Namespace", addon.namespace) is None:
        labels = {ENVIRONMENT_LABEL: environment.name}
        metadata = {"name": addon.namespace, "labels": labels}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def remove_namespaces(
    addons: Sequence[Addon], environment: Environment, cluster: Cluster, *, time: Time = REAL
) -> list[str]:
    """Delete the namespaces this environment made for add-ons, where nothing runs or is installed in them; their names.

    Raises ClusterError for one that does not go away.
    """
    removed = []
    for name in sorted({addon.namespace for addon in addons if addon.chart}):
        found = cluster.get("v1", "Namespace", name)
        if found is None or objects.labels(found).get(ENVIRONMENT_LABEL) != environment.name:
            continue
        others = objects.staying(cluster.list("v1", "Pod", name))
        releases = cluster.list("v1", "Secret", name, label_selector="owner=helm")
        if not others and not releases and cluster.delete("v1", "Namespace", name):
            removed.append(name)
    for name in removed:
        until(
            functools.partial(_is_gone, cluster, name),
            environment.deadlines.drain,
            functools.partial(_stays, name),
            time,
        )
    return removed


def _is_gone(cluster: Cluster, namespace: str) -> bool:
    return cluster.get("v1", "Namespace", namespace) is None


def _stays(namespace: str) -> ClusterError:
    return ClusterError(
        f"the namespace {namespace} did not go away",
        next_command=f"kubectl get namespace {namespace} -o yaml",
    )


def unmark(addon: Addon, cluster: Cluster) -> None:
    """Remove the note, once helm has uninstalled the add-on."""
    cluster.delete("v1", "ConfigMap", _mark_name(addon), MARK_NAMESPACE)
