"""The JSON Schemas of models/*.yaml and environments/*.yaml, against the reader of those files."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft7Validator

from flows.cli import main
from tasks.records.catalogue import read_document
from tasks.records.errors import InvalidDocument
from tasks.records.schema import FOLDER, RECORDS, as_text, schema_of
from tests.support.builders import ROOT

FILES = [(kind, path) for kind in RECORDS for path in sorted((ROOT / f"{kind}s").iterdir()) if path.is_file()]
GONE = object()

# (kind, path of keys, what stands there instead)
REFUSED: list[tuple[str, str, Any]] = [
    ("model", "", []),
    ("model", "name", GONE),
    ("model", "name", "Tiny_Llama"),
    ("model", "name", "x" * 41),
    ("model", "source", GONE),
    ("model", "source.repo", "no-organisation"),
    ("model", "load", GONE),
    ("model", "source.revison", "main"),
    ("model", "replicas", 2),
    ("model", "engine.max_model_len", 0),
    ("model", "engine.max_model_len", "many"),
    ("model", "engine.gpu_memory_utilization", 1),
    ("model", "engine.dtype", "float8"),
    ("model", "engine.drain", "5 seconds"),
    ("model", "engine.drain", -1),
    ("model", "engine.drain", True),
    ("model", "resources.memory", "4 GB"),
    ("model", "resources.memory", -4),
    ("model", "resources.gpu", 17),
    ("model", "cache.load_seconds", 0),
    ("model", "cache.size", "big"),
    ("model", "cache.restore", "fast"),
    ("model", "objectives.ttft.p95", 500),
    ("model", "objectives.ttft.p96", "500ms"),
    ("model", "objectives.ttft_p95_ms", 500),
    ("model", "objectives.errors", 2),
    ("model", "load.rate", 0),
    ("model", "load.window", 0),
    ("model", "load.window", 86_401),
    ("model", "load.prompt_tokens.mean", GONE),
    ("model", "load.stages", [{"rate": 1}]),
    ("model", "load.stages", [{"rate": 1, "seconds": 0}]),
    ("model", "scaling.cooldown", 3601),
    ("model", "scaling.wake", {"cron": "every morning"}),
    ("model", "rollout", {"strategy": "rolling"}),
    ("environment", "region", "Ireland"),
    ("environment", "region", GONE),
    ("environment", "account", 111122223333),
    ("environment", "account", "1111"),
    ("environment", "cluster.name", GONE),
    ("environment", "cluster.kubernetes_version", 1.35),
    ("environment", "cluster.nat", "none"),
    ("environment", "cluster.admin_principal_arns", ["platform-admin"]),
    ("environment", "cluster.gpu.capacity_type", "SPOTS"),
    ("environment", "cluster.gpu.taint", {"value": "true"}),
    ("environment", "cluster.gpu.volume_gib", 10),
    ("environment", "storage.model_bucket", "Models"),
    ("environment", "storage.key_deletion_days", 31),
    ("environment", "existing", {"subnets": ["subnet-A"]}),
    ("environment", "existing", {"prometheus": {"url": "prometheus:9090"}}),
    ("environment", "iam", {"path": "platform"}),
    ("environment", "tags", {"team": 3}),
    ("environment", "deadlines", {"addon": "soon"}),
    ("environment", "gpu", {}),
]


@pytest.mark.parametrize("kind", RECORDS)
def test_the_schema_in_the_repository_is_what_the_command_writes(kind: str) -> None:
    Draft7Validator.check_schema(schema_of(kind))
    kept = (ROOT / FOLDER / f"{kind}.schema.json").read_text("utf-8")
    assert kept == as_text(schema_of(kind)), "run: slipway schema"


def test_the_command_writes_both_into_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("models", "environments"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    done = CliRunner().invoke(main, ["schema"])
    assert done.exit_code == 0, done.output
    for kind in RECORDS:
        file = f"{kind}.schema.json"
        assert (tmp_path / FOLDER / file).read_bytes() == (ROOT / FOLDER / file).read_bytes()


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda value: getattr(value, "name", value))
def test_every_file_passes_and_names_its_schema(kind: str, path: Path) -> None:
    assert problems(kind, yaml.safe_load(path.read_text("utf-8"))) == []
    first = path.read_text("utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../{FOLDER}/{kind}.schema.json"
    assert (path.parent / first.partition("=")[2]).is_file()


@pytest.mark.parametrize(("kind", "keys", "value"), REFUSED)
def test_what_the_reader_refuses_is_refused_by_the_schema(
    tmp_path: Path, kind: str, keys: str, value: Any
) -> None:
    document = changed(good(kind), keys, value)
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidDocument):
        read_document(RECORDS[kind], file, "file.yaml")
    assert problems(kind, document)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("engine.drain", 5),
        ("engine.drain", "500ms"),
        ("resources.cpu", 2),
        ("resources.cpu", "1500m"),
        ("objectives.ttft.p95", None),
        ("objectives.regression", None),
        ("cache.load_seconds", "1.5m"),
        ("rollout", {"strategy": "blue-green", "canary": 0}),
    ],
)
def test_every_way_of_writing_a_value_is_allowed_by_both(tmp_path: Path, keys: str, value: Any) -> None:
    document = changed(good("model"), keys, value)
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(document))
    read_document(RECORDS["model"], file, "file.yaml")
    assert problems("model", document) == []


def good(kind: str) -> Any:
    name = {"model": "tiny-llama", "environment": "staging"}[kind]
    document = yaml.safe_load((ROOT / f"{kind}s" / f"{name}.yaml").read_text("utf-8"))
    return {**document, "cache": {}} if kind == "model" else document


def changed(document: Any, keys: str, value: Any) -> Any:
    if not keys:
        return value
    found = copy.deepcopy(document)
    *above, last = keys.split(".")
    node = found
    for key in above:
        node = node[key]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return found


def problems(kind: str, document: Any) -> list[str]:
    return [error.message for error in Draft7Validator(schema_of(kind)).iter_errors(document)]
