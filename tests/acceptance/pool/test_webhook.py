"""The receiver's manifest, with the environment's name and an image filled in as the docs say: its pod takes the hub's webhooks."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
import yaml

from tests.support.builders import ROOT
from tests.support.job_pool import IMAGE, NAMESPACE, JobPool
from tests.support.platform import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(420)]

NAME, SECRET = "slipway-webhook-sandbox", "0123456789abcdef" * 4
PATIENCE = 180.0
COMMIT = {
    "event": {"action": "update", "scope": "repo.content"},
    "repo": {"type": "model", "name": "slipway/tiny-llama"},
    "updatedRefs": [{"ref": "refs/heads/main", "oldSha": None, "newSha": "0" * 40}],
}


def apply(pool: JobPool, document: dict[str, Any]) -> None:
    group = document["apiVersion"]
    path = f"/api/{group}" if group == "v1" else f"/apis/{group}"
    kind = {"NetworkPolicy": "networkpolicies"}.get(document["kind"], f"{document['kind'].lower()}s")
    name = document["metadata"]["name"]
    with pool.api() as api:
        api.patch(
            f"{path}/namespaces/{NAMESPACE}/{kind}/{name}",
            params={"fieldManager": "kubectl", "force": "true"},
            json=document,
            headers={"Content-Type": "application/apply-patch+yaml"},
        ).raise_for_status()


def test_the_manifest_s_pod_takes_webhooks(pool: JobPool) -> None:
    text = (ROOT / "k8s/prefect/webhook.yaml").read_text()
    documents = list(yaml.safe_load_all(text.replace("ENVIRONMENT", "sandbox").replace("IMAGE", IMAGE)))
    (container,) = documents[0]["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        if variable["name"] == "PREFECT_API_URL":
            variable["value"] = pool.url
    data = {"secret": base64.b64encode(SECRET.encode()).decode()}
    apply(
        pool,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "slipway-webhook"}, "data": data},
    )
    for document in documents:
        apply(pool, document)

    def address() -> str:
        """The pod's, once it is ready; empty before."""
        with pool.api() as api:
            asked = {"labelSelector": "app=slipway-webhook"}
            listed = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods", params=asked).raise_for_status().json()
        for pod in listed["items"]:
            for condition in pod.get("status", {}).get("conditions", ()):
                if condition["type"] == "Ready" and condition["status"] == "True":
                    return f"http://{pod['status']['podIP']}:8080/hub"
        return ""

    url = eventually(address, "the receiver is ready", PATIENCE)
    forged = httpx.post(url, json=COMMIT, headers={"X-Webhook-Secret": "x" * 64}, trust_env=False)
    assert forged.status_code == 401
    asked = {"filter": {"event": {"name": ["slipway.webhook.forged"]}}}
    eventually(lambda: pool.call("POST", "/events/filter", asked)["events"], "it is told", PATIENCE)
    answer = httpx.post(url, json=COMMIT, headers={"X-Webhook-Secret": SECRET}, trust_env=False)
    # the catalogue of the checkout follows nothing
    assert (answer.status_code, answer.json()["why"]) == (
        202,
        "no model follows the model slipway/tiny-llama",
    )
