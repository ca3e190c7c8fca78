"""What an answer is written in, and discovery in one document."""

from __future__ import annotations

import pytest

from tests.kubernetes.conftest import Cluster, config_map

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.mark.parametrize(
    ("path", "group", "plural"), [("/api", "", "pods"), ("/apis", "apps", "deployments")]
)
def test_discovery_comes_in_one_document_to_who_asks_for_it(
    cluster: Cluster, path: str, group: str, plural: str
) -> None:
    answer = cluster.raw("GET", path, accept=f"{AGGREGATED},application/json")
    assert answer.headers["Content-Type"].replace(" ", "").startswith(AGGREGATED)
    assert answer.json["kind"] == "APIGroupDiscoveryList"
    (found,) = [item for item in answer.json["items"] if item["metadata"].get("name", "") == group]
    version = next(v for v in found["versions"] if v["version"] == "v1")
    (resource,) = [r for r in version["resources"] if r["resource"] == plural]
    assert resource["scope"] == "Namespaced" and "list" in resource["verbs"]
    assert resource["responseKind"]["version"] in ("", "v1")  # empty: the one it stands in
    assert "status" in [each["subresource"] for each in resource["subresources"]]


def test_discovery_of_old_clients_is_as_it_was(cluster: Cluster) -> None:
    assert cluster.raw("GET", "/apis", accept="application/json").json["kind"] == "APIGroupList"
    groups = cluster.raw("GET", "/apis", accept=AGGREGATED).json["items"]
    apps = next(group for group in groups if group["metadata"]["name"] == "apps")
    (deployments,) = [r for r in apps["versions"][0]["resources"] if r["resource"] == "deployments"]
    kinds = {s["subresource"]: s["responseKind"]["kind"] for s in deployments["subresources"]}
    assert kinds["scale"] == "Scale"


def test_a_browser_is_answered(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert cluster.raw("GET", path, accept="text/html,application/xhtml+xml,*/*;q=0.8").status == 200


def test_a_replacement_that_names_another_object_is_refused_before_it_is_looked_for(
    cluster: Cluster, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps/absent"
    answer = cluster.raw("PUT", path, config_map("other"))
    assert answer.status == 400
    assert (
        "the name of the object (other) does not match the name on the URL (absent)" in answer.json["message"]
    )


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (
            "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
            {"metadata": {"name": "n"}, "spec": {"podSelector": {}, "policyTypes": ["Sideways"]}},
            "spec.policyTypes[0]",
        ),
    ],
)
def test_an_object_is_refused_for(
    cluster: Cluster, namespace: str, path: str, body: dict[str, object], field: str
) -> None:
    answer = cluster.raw("POST", path.format(namespace), body)
    assert answer.status == 422
    assert [cause["field"] for cause in answer.json["details"]["causes"]] == [field]


def test_a_node_port_is_given_once(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    spec = {"type": "NodePort", "ports": [{"port": 80}]}
    first = cluster.raw("POST", path, {"metadata": {"name": "first"}, "spec": spec}).json
    taken = first["spec"]["ports"][0]["nodePort"]
    again = {"type": "NodePort", "ports": [{"port": 80, "nodePort": taken}]}
    answer = cluster.raw("POST", path, {"metadata": {"name": "second"}, "spec": again})
    assert answer.status == 422
    assert "provided port is already allocated" in answer.json["message"]
    assert cluster.raw("PUT", f"{path}/first", first).status == 200
