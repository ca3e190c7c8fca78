from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from tasks.records.backends import why_not
from tasks.records.errors import InputError
from tasks.records.model import Model
from tasks.rollout.gateway import check_backend, documents, routes
from tests.support.builders import ROOT, a_model, an_environment

WHERE = an_environment(gateway={"backend": "litellm", "aliases": {"fast": "a"}}, namespace="models")
ADAPTED = a_model(name="a", engine={"lora": [{"name": "polite", "repo": "acme/polite"}]})
SLEEPS = a_model(name="c", scaling={"scale_to_zero": True})
ROUTES = routes(ROOT, ADAPTED, WHERE) | routes(ROOT, a_model(name="b"), WHERE)


def made(all_routes: dict[str, str] = ROUTES, keys: str = "") -> dict[str, dict[str, Any]]:
    return {d["kind"]: d for d in documents(ROOT, WHERE, all_routes, keys)}


def configuration() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(made()["ConfigMap"]["data"]["config.yaml"])
    return found


def environment_of(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def test_models_and_adapters_lead_to_their_service_and_aliases_to_their_model() -> None:
    found = configuration()
    leads = {
        one["model_name"]: (one["litellm_params"]["model"], one["litellm_params"]["api_base"])
        for one in found["model_list"]
    }
    assert leads == {
        "a": ("hosted_vllm/a", "http://vllm-a.models.svc.cluster.local:8000/v1"),
        "polite": ("hosted_vllm/polite", "http://vllm-a.models.svc.cluster.local:8000/v1"),
        "b": ("hosted_vllm/b", "http://vllm-b.models.svc.cluster.local:8000/v1"),
    }
    assert found["router_settings"]["model_group_alias"] == {"fast": "a"}
    assert json.loads(made()["ConfigMap"]["data"]["models.json"]) == {
        "models": {"a": "a", "b": "b", "fast": "a", "polite": "a"}
    }
    assert environment_of(made())["SERVER_ROOT_PATHS"] == "/a,/b"


def test_a_request_that_was_sent_is_never_sent_twice_and_no_connection_outlives_its_request() -> None:
    found = configuration()
    assert found["router_settings"]["num_retries"] == 0
    assert all(
        one["litellm_params"]["extra_headers"] == {"Connection": "close"} for one in found["model_list"]
    )
    assert environment_of(made())["AIOHTTP_KEEPALIVE_TIMEOUT"] == "0"


def test_no_key_is_in_the_configuration() -> None:
    assert {one["litellm_params"]["api_key"] for one in configuration()["model_list"]} == {
        "os.environ/SLIPWAY_ENGINE_KEY"
    }


def test_its_documents_are_valid_and_its_service_is_nginxs() -> None:
    by_nginx = {d["kind"]: d for d in documents(ROOT, an_environment(namespace="models"), ROUTES)}
    for kind, document in made().items():
        if kind != "PodMonitor":
            kubernetes_validate.validate(document, "1.33", strict=True)
        if kind not in ("ConfigMap", "Deployment"):
            assert document == by_nginx[kind]
    assert made()["Deployment"]["spec"]["selector"] == by_nginx["Deployment"]["spec"]["selector"]
    ports = [
        found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]
        for found in (made(), by_nginx)
    ]
    assert ports[0] == ports[1]


def test_a_change_of_routes_or_keys_rolls_it_out() -> None:
    first = made()["Deployment"]["spec"]["template"]
    assert first == made()["Deployment"]["spec"]["template"]
    assert made(routes(ROOT, ADAPTED, WHERE))["Deployment"]["spec"]["template"] != first
    assert made(keys="others")["Deployment"]["spec"]["template"] != first


def test_the_image_is_the_back_ends_unless_one_is_named() -> None:
    assert WHERE.gateway.image.startswith("ghcr.io/berriai/litellm:v")
    assert an_environment().gateway.image.startswith("nginxinc/nginx-unprivileged:")
    named = an_environment(gateway={"backend": "litellm", "image": "acme/litellm@sha256:0"})
    assert named.gateway.image == "acme/litellm@sha256:0"


@pytest.mark.parametrize(
    ("model", "backend", "said"),
    [
        (a_model(), "litellm", None),
        (SLEEPS, "nginx", None),
        (SLEEPS, "litellm", "holds no request for a model that sleeps"),
        (a_model(engine={"task": "score"}), "litellm", "has no /v1/score"),
        (a_model(engine={"task": "score"}, load={"endpoint": "rerank", "rate": 1}), "litellm", None),
        (a_model(engine={"task": "embed"}), "litellm", None),
    ],
)
def test_what_litellm_cannot_do_is_refused(model: Model, backend: str, said: str | None) -> None:
    why = why_not(model, an_environment(gateway={"backend": backend}))
    assert (why is None) if said is None else (said in str(why))


def test_traces_that_nobody_would_begin_are_refused() -> None:
    collector = {
        "endpoint": "http://collector.watch:4317",
        "namespace": "watch",
        "pod_labels": {"app": "collector"},
    }
    assert an_environment(tracing=collector).tracing
    with pytest.raises(ValidationError, match="tracing needs gateway"):
        an_environment(tracing=collector, gateway={"backend": "litellm"})


class Holding:
    """A cluster whose ConfigMap of routes has this data."""

    def __init__(self, data: dict[str, str]) -> None:
        self.data = data

    def get(self, *of: object) -> dict[str, Any]:
        return {"data": self.data}


def test_a_rollout_is_refused_where_another_model_that_is_served_may_sleep() -> None:
    there: Any = Holding(routes(ROOT, SLEEPS, an_environment()))
    with pytest.raises(InputError, match="c was rolled out with scale_to_zero"):
        check_backend(there, a_model(name="a"), WHERE)
    check_backend(there, a_model(name="a"), an_environment())
    check_backend(there, a_model(name="c"), WHERE)  # it may sleep no longer
    with pytest.raises(InputError, match=r"c has scaling\.scale_to_zero"):
        check_backend(there, SLEEPS, WHERE)
