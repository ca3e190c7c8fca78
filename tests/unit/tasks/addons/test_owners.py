from __future__ import annotations

from typing import Any

import pytest

from tasks.addons.catalogue import load_addons
from tasks.addons.owners import ENVIRONMENT_LABEL, decide_owner, make_namespace, remove_namespaces, runs
from tests.support.builders import ROOT, an_environment

KEDA, PROMETHEUS = (
    next(addon for addon in load_addons(ROOT) if addon.name == name)
    for name in ("keda", "kube-prometheus-stack")
)
OURS = {"revision": 1, "status": "deployed", "description": "slipway bundle 0123456789abcdef"}
FOREIGN = {"revision": 1, "status": "deployed", "description": "Install complete"}
KILLED = {"revision": 1, "status": "pending-install", "description": "Initial install underway"}
OWN, SHARED = an_environment(), an_environment(existing={"cluster": "shared"})


def mark(environment: str) -> dict[str, Any]:
    return {"metadata": {"labels": {ENVIRONMENT_LABEL: environment}}}


def workload(image: str = "ghcr.io/kedacore/keda:2.20.2", release: str = "") -> dict[str, Any]:
    notes = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "platform"}
    return {
        "kind": "Deployment",
        "metadata": {
            "name": "operator",
            "namespace": "scaling",
            "annotations": notes if release else {},
        },
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
    }


@pytest.mark.parametrize(
    ("environment", "marked", "history", "workloads", "whose"),
    [
        (OWN, None, [], [], "nobody"),
        (SHARED, None, [], [], "nobody"),
        (SHARED, "staging", [], [], "ours"),
        (SHARED, "staging", [KILLED], [workload()], "ours"),
        # two environments in one cluster: the second takes the add-on of the first as it is
        (SHARED, "production", [OURS], [workload()], "theirs"),
        # installed before installs left a mark
        (OWN, None, [OURS], [workload()], "ours"),
        (OWN, None, [KILLED], [], "ours"),
        (SHARED, None, [KILLED], [], "theirs"),
        (SHARED, None, [FOREIGN], [workload()], "theirs"),
        # another name, another namespace, or no helm at all
        (SHARED, None, [], [workload(release="scaler")], "theirs"),
        (OWN, None, [], [workload()], "theirs"),
    ],
)
def test_an_add_on_belongs_to_whom_its_mark_its_history_or_its_workload_names(
    environment: Any, marked: str | None, history: list[Any], workloads: list[Any], whose: str
) -> None:
    found = decide_owner(KEDA, environment, mark(marked) if marked else None, history, workloads)
    assert found.whose == whose
    assert found.told or whose == "nobody"
    assert bool(found.namespace) == (whose == "theirs")


def test_somebody_elses_release_is_told_by_name() -> None:
    found = decide_owner(KEDA, SHARED, None, [], [workload(release="scaler")])
    assert found.told == "Deployment scaling/operator of helm release platform/scaler"
    assert found.namespace == "scaling"


def test_a_prometheus_that_is_named_is_never_installed_beside() -> None:
    named = an_environment(existing={"prometheus": {"service": "prom", "namespace": "o11y"}})
    found = decide_owner(PROMETHEUS, named, None, [], [])
    assert (found.whose, found.namespace) == ("theirs", "o11y")


@pytest.mark.parametrize(
    ("image", "is_keda"),
    [
        ("ghcr.io/kedacore/keda:2.20.2", True),
        ("registry.example.com:5000/mirror/kedacore/keda@sha256:00", True),
        ("kedacore/keda", True),
        ("ghcr.io/kedacore/keda-metrics-apiserver:2.20.2", False),
        ("example.com/notkedacore/keda:1", False),
    ],
)
def test_a_program_is_known_by_its_image_whatever_registry_it_comes_from(image: str, is_keda: bool) -> None:
    assert runs(workload(image), KEDA) is is_keda


class Spaces:
    """A cluster with namespaces: their labels, the pods and helm releases in each."""

    def __init__(self, **spaces: tuple[dict[str, str], int, int]) -> None:
        self.spaces = spaces

    def get(self, api: str, kind: str, name: str) -> dict[str, Any] | None:
        labels = self.spaces.get(name, (None,))[0]
        return None if labels is None else {"metadata": {"name": name, "labels": labels}}

    def list(self, api: str, kind: str, namespace: str, **_: str) -> list[dict[str, Any]]:
        _, pods, releases = self.spaces[namespace]
        return [{"metadata": {"name": str(n)}} for n in range(pods if kind == "Pod" else releases)]

    def apply(self, document: dict[str, Any]) -> None:
        self.spaces[document["metadata"]["name"]] = (document["metadata"]["labels"], 0, 0)

    def delete(self, api: str, kind: str, name: str) -> bool:
        return self.spaces.pop(name, None) is not None


OUR_LABEL = {ENVIRONMENT_LABEL: "staging"}


@pytest.mark.parametrize(
    ("space", "removed"),
    [
        ((OUR_LABEL, 0, 0), True),
        ((OUR_LABEL, 1, 0), False),
        ((OUR_LABEL, 0, 1), False),
        (({}, 0, 0), False),
        (({ENVIRONMENT_LABEL: "production"}, 0, 0), False),
    ],
)
def test_a_namespace_goes_that_this_environment_made_and_nobody_uses(
    space: tuple[dict[str, str], int, int], removed: bool
) -> None:
    cluster: Any = Spaces(**{KEDA.namespace: space})
    assert remove_namespaces([KEDA], SHARED, cluster) == ([KEDA.namespace] if removed else [])
    assert (KEDA.namespace in cluster.spaces) is not removed


def test_a_namespace_that_is_there_gets_no_label() -> None:
    cluster: Any = Spaces(**{KEDA.namespace: ({"team": "platform"}, 0, 0)})
    make_namespace(KEDA, SHARED, cluster)
    make_namespace(PROMETHEUS, SHARED, cluster)
    assert cluster.spaces[KEDA.namespace][0] == {"team": "platform"}
    assert cluster.spaces[PROMETHEUS.namespace][0] == OUR_LABEL
