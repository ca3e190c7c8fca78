"""Which of a model's pods count: one that was refused by its node or evicted stays listed for ever."""

from __future__ import annotations

from typing import Any

from tasks.idle.observe import serving_pods
from tasks.idle.scale import pods_left
from tests.support.builders import a_model, an_environment


def a_pod(name: str, phase: str, *, ending: bool = False) -> dict[str, Any]:
    metadata = {"name": name} | ({"deletionTimestamp": "2025-01-01T00:00:00Z"} if ending else {})
    return {"metadata": metadata, "status": {"phase": phase}}


class Listed:
    """A cluster with these pods."""

    def list(self, api: str, kind: str, namespace: str, *, label_selector: str) -> list[dict[str, Any]]:
        assert (api, kind, label_selector) == ("v1", "Pod", "slipway.dev/model=llama")
        return [
            a_pod("serves", "Running"),
            a_pod("starts", "Pending"),
            a_pod("refused", "Failed"),
            a_pod("ends", "Running", ending=True),
            a_pod("ended", "Succeeded", ending=True),
        ]


def test_a_pod_that_has_ended_is_not_asked_for_its_metrics() -> None:
    cluster: Any = Listed()
    assert serving_pods(cluster, a_model(), an_environment()) == ["serves", "starts"]


def test_a_pod_that_has_ended_does_not_keep_a_scale_down_waiting() -> None:
    cluster: Any = Listed()
    assert pods_left(cluster, a_model(), an_environment()) == ["serves", "starts", "ends", "ended"]
