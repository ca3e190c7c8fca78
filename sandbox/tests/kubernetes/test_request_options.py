"""Options that do not exist or do not go together, and bodies that are read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_sandbox.kubernetes import patches
from tests.kubernetes.conftest import Cluster, config_map, deployment, ours_only

_WRONG_LISTS: list[tuple[dict[str, str], int, str]] = [
    ({"resourceVersion": "abc"}, 400, 'parsing "abc": invalid syntax'),
    ({"resourceVersion": "999999999"}, 504, "Too large resource version"),
    ({"watch": "true", "timeoutSeconds": "soon"}, 400, 'parsing "soon": invalid syntax'),
]


@pytest.mark.parametrize(("query", "status", "message"), _WRONG_LISTS)
def test_a_list_or_watch_with_a_wrong_option_is_refused(
    cluster: Cluster, query: dict[str, str], status: int, message: str
) -> None:
    answer = cluster.raw("GET", "/api/v1/pods", query=query)
    assert (answer.status, message in answer.json["message"]) == (status, True)


def test_a_dry_run_is_of_all_or_none(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    answer = cluster.raw("POST", path, config_map(), {"dryRun": "Some"})
    assert answer.status in (400, 422)
    assert "dryRun" in answer.json["message"]


@pytest.mark.parametrize(
    ("patch", "kind", "query", "why"),
    [
        ({"spec": {"replicas": "x"}}, patches.MERGE, {}, "cannot unmarshal string"),
        ({"spec": {"replicas": "x"}}, patches.STRATEGIC, {}, "cannot unmarshal string"),
        ({"kind": "Secret"}, patches.MERGE, {}, '"Secret"'),
        (
            {"spec": {"extra": 1}},
            patches.STRATEGIC,
            {"fieldValidation": "Strict"},
            'unknown field "spec.extra"',
        ),
    ],
)
def test_a_patch_that_cannot_be_decoded_is_refused(
    cluster: Cluster, namespace: str, patch: Any, kind: str, query: dict[str, str], why: str
) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    answer = cluster.raw("PATCH", path, patch, query, content_type=kind)
    assert (answer.status, why in answer.json["message"]) == (400, True)


def test_a_replacement_names_its_object(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map())
    answer = cluster.raw("PUT", f"/api/v1/namespaces/{namespace}/configmaps/settings", {"metadata": {}})
    assert (answer.status, "undeterminable" in answer.json["message"]) == (400, True)


@ours_only("kinds that are absent by choice")
@pytest.mark.parametrize(
    "path",
    [
        "/apis/batch/v1/cronjobs",
        "/apis/networking.k8s.io/v1/ingresses",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        "/api/v1/resourcequotas",
    ],
)
def test_kinds_that_nothing_here_implements_are_absent(cluster: Cluster, path: str) -> None:
    answer = cluster.raw("GET", path)
    assert answer.status == 404
    *prefix, plural = path.split("/")
    served = cluster.raw("GET", "/".join(prefix))
    assert served.status == 404 or plural not in {r["name"] for r in served.json["resources"]}
