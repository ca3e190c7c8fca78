"""LoRA adapters through the whole lifecycle: staged beside their base, served by name, another release where one changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tasks.releases.ledger import Ledger
from tests.support.project import BUCKET, ENVIRONMENT, Project, edit

MODEL, ADAPTER, REPO = "tiny-llama", "polite", "slipway/tiny-adapter"


@pytest.fixture(scope="module")
def adapted(project: Project) -> Iterator[Project]:
    """tiny-llama serves with one adapter."""
    engine = {"lora": [{"name": ADAPTER, "repo": REPO, "revision": "v1"}], "max_lora_rank": 8}
    edit(project.home / "models" / f"{MODEL}.yaml", {"engine": engine})
    judged = project.run("preflight", MODEL, "-e", ENVIRONMENT, "--explain").succeeded()
    assert f"{ADAPTER} of rank 8 on q_proj, v_proj" in judged.output
    assert "LoRA slots" in judged.output
    done = project.deploy(MODEL).succeeded()
    assert f"adapter {ADAPTER} answers " in done.output
    assert "validation: PASS" in done.output
    yield project


def ask(project: Project, model: str, path: str = "completions") -> dict[str, Any]:
    """What a model answers by its path, or by the body's name at the gateway's own /v1."""
    with project.asking(MODEL) as client:
        body = {"model": model, "prompt": "Hello", "max_tokens": 8, "temperature": 0}
        answer: dict[str, Any] = client.post(path, json=body).raise_for_status().json()
    return answer


def by_name(project: Project) -> str:
    """/v1/completions of the gateway, where the body says which model."""
    return str(httpx.URL(project.base_url(MODEL)).copy_with(path="/v1/completions"))


def test_each_is_served_by_its_name_and_answers_otherwise_than_its_base(adapted: Project) -> None:
    own, base = ask(adapted, ADAPTER), ask(adapted, MODEL)
    assert (own["model"], base["model"]) == (ADAPTER, MODEL)
    assert own["choices"][0]["text"] != base["choices"][0]["text"]
    assert ask(adapted, ADAPTER, by_name(adapted))["model"] == ADAPTER
    with adapted.asking(MODEL) as client:
        listed = client.get(str(httpx.URL(adapted.base_url(MODEL)).copy_with(path="/v1/models"))).json()
    assert {one["id"]: one["parent"] for one in listed["data"]}[ADAPTER] == MODEL


def test_its_files_are_in_the_signed_evidence(adapted: Project) -> None:
    said = adapted.run("evidence", MODEL, "-e", ENVIRONMENT).succeeded().output
    assert f"adapter/{ADAPTER}/adapter_model.safetensors" in said


def release_of(project: Project) -> str:
    serving = Ledger(project.client("s3"), BUCKET, ENVIRONMENT, MODEL).serving().serving
    assert serving
    return serving


def test_an_adapter_that_changed_is_another_release_and_a_rollback_has_the_old_one(adapted: Project) -> None:
    before, answer = release_of(adapted), ask(adapted, ADAPTER)["choices"][0]["text"]
    assert "nothing to send" in adapted.deploy(MODEL).succeeded().output
    assert release_of(adapted) == before
    file = adapted.home / "models" / f"{MODEL}.yaml"
    file.write_text(file.read_text().replace("revision: v1", "revision: main"))
    assert "validation: PASS" in adapted.deploy(MODEL).succeeded().output
    assert release_of(adapted) != before
    assert ask(adapted, ADAPTER)["choices"][0]["text"] != answer
    adapted.run("rollback", MODEL, "-e", ENVIRONMENT).succeeded()
    assert ask(adapted, ADAPTER)["choices"][0]["text"] == answer


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ({"max_lora_rank": 1}, "its rank is 8, engine.max_lora_rank is 1"),
        ({"lora": [{"name": ADAPTER, "repo": "slipway/tiny-base"}]}, "it is no LoRA adapter in PEFT's format"),
        ({"lora": [{"name": ADAPTER, "repo": REPO, "base": "acme/other"}]}, "its base is slipway/tiny-llama, not acme/other"),
    ],
)  # fmt: skip
def test_an_adapter_that_vllm_would_refuse_is_refused_before_anything_is_touched(
    adapted: Project, engine: dict[str, Any], told: str
) -> None:
    file = adapted.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    try:
        edit(file, {"engine": engine})
        adapted.deploy(MODEL).refused(3, told, "  next: ")
    finally:
        file.write_text(before)


def test_an_adapter_alone_is_no_model(adapted: Project) -> None:
    file = adapted.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    try:
        edit(file, {"source": {"repo": REPO}, "engine": {"lora": []}})
        adapted.deploy(MODEL).refused(3, f"{REPO} is a LoRA adapter of slipway/tiny-llama, not a model")
    finally:
        file.write_text(before)


def test_the_bill_of_materials_has_it_beside_the_model(adapted: Project) -> None:
    objects = adapted.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])
    newest = max((o for o in objects if o["Key"].endswith("bom.cdx.json")), key=lambda o: o["LastModified"])
    body = adapted.client("s3").get_object(Bucket=BUCKET, Key=newest["Key"])["Body"].read()
    references = [component["bom-ref"] for component in json.loads(body)["components"]]
    assert references == ["model", f"adapter/{ADAPTER}", "engine"]
