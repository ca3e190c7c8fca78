"""The bill of materials against CycloneDX's own schema, and what it says.

recorded/*.schema.json.gz: bom-1.6, spdx and jsf-0.82 as cyclonedx-python-lib 11 carries them, from
github.com/CycloneDX/specification, schema/.
"""

from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from tasks.evidence.bom import bill_of_materials
from tasks.records.model import Engine
from tests.support.evidence import DIGEST, a_manifest
from tests.support.reports import a_release

RECORDED = Path(__file__).with_name("recorded")
MANIFEST = a_manifest(random.Random(1))
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress((RECORDED / f"{name}.schema.json.gz").read_bytes()))
    return found


def faults(document: dict[str, Any]) -> list[str]:
    registry: Registry[Any] = Registry().with_resources(
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", Resource.from_contents(schema(name)))
        for name in ("spdx", "jsf-0.82")
    )
    validator = Draft7Validator(schema("bom-1.6"), registry=registry)
    return [error.message for error in validator.iter_errors(document)]


def written(
    image: str = f"vllm/vllm-openai:v0.32.0@{DIGEST}", config: dict[str, Any] | None = None
) -> dict[str, Any]:
    release = a_release(image=image, engine=Engine(image=image, max_num_seqs=7))
    body = bill_of_materials(
        release,
        MANIFEST,
        LLAMA if config is None else config,
        sequence=3,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        slipway_version="0.1.0",
        engine_version="0.32.0",
    )
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.mark.parametrize(
    "image", [f"vllm/vllm-openai:v0.32.0@{DIGEST}", f"localhost:5000/vllm@{DIGEST}", "a/b:1", "a/b"]
)
@pytest.mark.parametrize("config", [LLAMA, {}])
def test_it_is_what_the_schema_allows(image: str, config: dict[str, Any]) -> None:
    assert faults(written(image, config)) == []


def test_the_schema_refuses_what_is_none() -> None:
    broken = written()
    broken["components"][0]["type"] = "model"
    assert faults(broken)


def test_the_model_is_there_with_the_sha256_of_each_file() -> None:
    model, engine = written()["components"]
    assert (model["type"], model["group"], model["name"]) == ("machine-learning-model", "org", "llama")
    assert model["purl"] == f"pkg:huggingface/org/llama@{'0' * 40}"
    assert model["modelCard"]["modelParameters"]["modelArchitecture"] == "LlamaForCausalLM"
    hashes = {one["name"]: one["hashes"][0]["content"] for one in model["components"]}
    assert hashes == {file.path: file.sha256 for file in MANIFEST.files}
    assert engine["hashes"][0]["content"] == DIGEST.removeprefix("sha256:")
    assert {"name": "slipway:flag:max_num_seqs", "value": "7"} in engine["properties"]


def test_an_image_by_its_tag_only_has_no_hash() -> None:
    _, engine = written("vllm/vllm-openai:v0.32.0")["components"]
    assert "hashes" not in engine
    assert "purl" not in engine


def test_the_same_evidence_has_the_same_serial_number() -> None:
    assert written()["serialNumber"] == written()["serialNumber"]
