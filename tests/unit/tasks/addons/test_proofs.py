"""Proofs that look at single objects, over objects written down here."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.addons.catalogue import load_addons
from tasks.addons.proofs import METRICS_API, Installed, scaling_missing
from tests.support.builders import ROOT, an_environment

KEDA = next(addon for addon in load_addons(ROOT) if addon.name == "keda")
ESTABLISHED = {"status": {"conditions": [{"type": "Established", "status": "True"}]}}
OPERATOR = {"status": {"availableReplicas": 1}}


def served(status: str, message: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": "Available", "status": status, "message": message}]}}


class Seen:
    """A cluster with one object of each kind."""

    def __init__(self, objects: dict[str, dict[str, Any]]) -> None:
        self._objects = objects

    def get(self, api: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        return self._objects.get(kind)


@pytest.mark.parametrize(
    ("service", "missing"),
    [
        (served("True", "all checks passed"), []),
        (None, [f"the API {METRICS_API} is not available yet: it is not registered"]),
        (
            served("False", "endpoints for service/keda have no addresses"),
            [f"the API {METRICS_API} is not available yet: endpoints for service/keda have no addresses"],
        ),
    ],
)
def test_scaling_works_once_the_autoscaler_can_read_kedas_metrics(
    service: dict[str, Any] | None, missing: list[str]
) -> None:
    objects: dict[str, dict[str, Any]] = {"CustomResourceDefinition": ESTABLISHED, "Deployment": OPERATOR}
    if service:
        objects["APIService"] = service
    cluster: Any = Seen(objects)
    assert scaling_missing(Installed(KEDA, cluster, an_environment(), ROOT)) == missing
