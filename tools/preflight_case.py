"""Judge one case folder with the preflight rows, without AWS, and print one JSON line.

    python -m tools.preflight_case --json FOLDER

The folder holds case.json, and as far as the case has them config.json and the repo's other small files. case.json:
`instance` (an EC2 type), `weights` (bytes by safetensors dtype), `files` (path -> bytes; default: one safetensors file, a
tokenizer and a chat template), `engine`, `resources`, `load`, `cache` and `replicas` of a model's file, `index` (names of the shards), and
of AWS `zones`, `zone`, `zone_ids`, `quota`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.preflight.asked import asked
from tasks.preflight.checks import Check, judge_environment, judge_model
from tasks.preflight.config import Unsaid
from tasks.preflight.engine import Engine
from tasks.preflight.facts import Facts, described
from tasks.preflight.nodes import InstanceType
from tasks.preflight.quota import QuotaNeed, quota_code
from tasks.preflight.weights import STORED
from tasks.records.environment import Environment
from tasks.records.errors import SlipwayError
from tasks.records.model import Model
from tasks.records.results import HubFile, HubInspection, HubModel
from tasks.records.weights import INDEX, INDEXES, weight_files
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tasks.staging.inspection import DOCUMENTS, inspect

ROOT = Path(__file__).resolve().parent.parent
INSTANCES = Path(__file__).with_name("instance_types.json")
COMMIT = "0" * 40
NOT_OF_THE_REPO = ("case.json", "expected.md")
ASSUMED = {"tokenizer.json": 9_000_000, "tokenizer_config.json": 5_000}


def instance_of(name: str) -> InstanceType:
    """An instance type as EC2 describes it, from the recorded answers. Raises CaseRefused for one that is not there."""
    types = json.loads(INSTANCES.read_text("utf-8"))["types"]
    if name not in types:
        raise CaseRefused(f"{INSTANCES.name} has no {name}: it has GPU types only; add what EC2 says of it")
    return described(types[name])


class CaseRefused(Exception):
    """A case folder that cannot be read, in one line."""


# what case.json may hold of each key, in words and as types
NUMBER = (int, float)
SHAPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "instance": ("an EC2 instance type", (str,)),
    "weights": ("bytes by safetensors dtype", (dict,)),
    "files": ("bytes by path, or a list of paths", (dict, list)),
    "index": ("names of shards, or an index's weight_map", (dict, list)),
    "engine": ("the engine of a model's file", (dict,)),
    "resources": ("the resources of a model's file", (dict,)),
    "cache": ("the cache of a model's file", (dict,)),
    "load": ("the load of a model's file", (dict,)),
    "cluster": ("the cluster of an environment's file", (dict,)),
    "region": ("a region", (str,)),
    "zone": ("a zone", (str,)),
    "zones": ("a list of zones", (list,)),
    "zone_ids": ("zone ids by zone", (dict,)),
    "quota": ("a number of vCPUs", NUMBER),
}


def case_of(folder: Path) -> dict[str, Any]:
    """case.json, each value of the shape it must have. Raises CaseRefused."""
    path = folder / "case.json"
    try:
        case = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CaseRefused(f"{folder} has no case.json") from None
    except (OSError, ValueError) as error:
        raise CaseRefused(f"{path} cannot be read: {error}") from None
    if not isinstance(case, dict):
        raise CaseRefused(f"{path} is no JSON object")
    if "instance" not in case:
        raise CaseRefused(f"{path}: instance is missing: an EC2 instance type")
    case = {key: value for key, value in case.items() if value is not None or key == "instance"}
    for key, (what, types) in SHAPES.items():
        if key in case and (not isinstance(case[key], types) or isinstance(case[key], bool)):
            raise CaseRefused(f"{path}: {key}: {what} is wanted, not {case[key]!r:.80}")
    for key in ("weights", "files"):
        if isinstance(case.get(key), dict):
            for name, size in case[key].items():
                if not isinstance(size, NUMBER) or isinstance(size, bool) or size < 0:
                    raise CaseRefused(f"{path}: {key}.{name}: a number of bytes is wanted, not {size!r:.80}")
    return case


def in_one_line(error: ValidationError) -> str:
    """Where a model's or environment's settings are wrong, and how."""
    told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return f"case.json: {'; '.join(told)}"


def model_of(name: str, case: Mapping[str, Any]) -> Model:
    """The case as a model's file would say it."""
    short = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    chosen = {key: case[key] for key in ("engine", "resources", "cache", "replicas") if key in case}
    load = {"rate": 1.0} | dict(case.get("load") or {})
    return Model.model_validate({"name": short, "source": {"repo": f"case/{short}"}, "load": load, **chosen})


def environment_of(case: Mapping[str, Any]) -> Environment:
    cluster = {"name": "slipway-case", "gpu": {"instance_type": case["instance"]}}
    return Environment.model_validate(
        {
            "name": "case",
            "region": case.get("region", "us-east-1"),
            "cluster": {**cluster, **dict(case.get("cluster") or {})},
            "storage": {"model_bucket": "case-models", "state_bucket": "case-states"},
        }
    )


def inspection_of(folder: Path, case: Mapping[str, Any], model: Model) -> HubInspection:
    """The repo: files the folder has are read, others are taken by their size in case.json."""
    there = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_OF_THE_REPO
    }
    listed = _listed(case, there, folder)
    files = tuple(HubFile(path=path, size=size) for path, size in sorted(listed.items()))
    repo = HubModel(repo=model.source.repo, commit=COMMIT, gated=False, files=files)

    def read(path: str, offset: int, count: int) -> bytes:
        return (folder / path).read_bytes()[offset : offset + count]

    readable = HubModel.model_validate(
        {
            **repo.model_dump(),
            "files": [f for f in files if f.path in there and _is_small_document(f.path, there)],
        }
    )
    found = inspect(readable, read)
    named = _named(case, found, folder)
    weights = weight_files(listed, named)
    stored = found.tensor_bytes or _stored(case, listed, weights.read, found.config)
    documents = dict(found.documents)
    if "files" not in case:
        documents.setdefault("tokenizer_config.json", {"chat_template": "assumed"})
    return found.model_copy(
        update={
            "model": repo,
            "tensor_bytes": stored,
            "weights": weights.read,
            "missing": weights.missing,
            "documents": documents,
        }
    )


def _is_small_document(path: str, there: Mapping[str, int]) -> bool:
    return path in (*DOCUMENTS, *INDEXES) or path.endswith(".safetensors")


def _listed(case: Mapping[str, Any], there: Mapping[str, int], folder: Path) -> dict[str, int]:
    """Path -> bytes of every file of the repo."""
    said = case.get("files")
    if said is None:
        whole = sum((case.get("weights") or {}).values())
        assumed = {"model.safetensors": whole, **ASSUMED} if whole else dict(ASSUMED)
        assumed |= dict.fromkeys(_code(folder), 10_000)
        if any(path.endswith(".safetensors") for path in there):
            assumed.pop("model.safetensors", None)
        return {**assumed, **there}
    if isinstance(said, Mapping):
        return {**{str(path): int(size) for path, size in said.items()}, **there}
    return {**{str(path): 0 for path in said}, **there}


def _code(folder: Path) -> set[str]:
    """The files of code that config.json's auto_map names; a case that lists no files has them."""
    try:
        named = json.loads((folder / "config.json").read_text("utf-8")).get("auto_map") or {}
        return {
            f"{each.rpartition('.')[0].replace('.', '/')}.py" for each in named.values() if "--" not in each
        }
    except (OSError, ValueError, AttributeError):
        return set()


def _named(case: Mapping[str, Any], found: HubInspection, folder: Path) -> dict[str, set[str]]:
    """Index file -> the files it names: of the folder's own index, else of case.json."""
    named = {}
    for path in INDEXES:
        if (folder / path).is_file():
            named[path] = _weight_map(json.loads((folder / path).read_text("utf-8")))
    said = case.get("index")
    if said and INDEX not in named:
        named[INDEX] = _weight_map(said) if isinstance(said, Mapping) else set(map(str, said))
    return named


def _weight_map(index: Any) -> set[str]:
    """The files an index names; none where it is not shaped as one."""
    mapping = index.get("weight_map", index) if isinstance(index, Mapping) else None
    return set(map(str, mapping.values())) if isinstance(mapping, Mapping) else set()


def _stored(
    case: Mapping[str, Any], listed: Mapping[str, int], read: tuple[str, ...], config: Mapping[str, Any]
) -> dict[str, int]:
    """Bytes by dtype of the files that count, where no header could be read: the case's figures, by share of the files."""
    said = {str(name).upper(): int(size) for name, size in (case.get("weights") or {}).items()}
    sizes = {path: size for path, size in listed.items() if path.endswith(".safetensors")}
    counted, whole = sum(sizes.get(path, 0) for path in read), sum(said.values())
    if not said and counted:
        dtype = str(config.get("torch_dtype") or config.get("dtype") or "bfloat16")
        return {{"float32": "F32", "float16": "F16"}.get(dtype, "BF16"): counted}
    if "files" in case and read and counted and whole > counted * 1.02:
        return {name: size * counted // sum(sizes.values()) for name, size in said.items()}
    return {name: size for name, size in said.items() if name in STORED or size}


def facts_of(case: Mapping[str, Any], environment: Environment, instance: InstanceType) -> Facts:
    """What AWS would say: the case's zones and quota; by default the type is offered where the nodes will be."""
    zones = tuple(case.get("zones") or (f"{environment.region}a", f"{environment.region}b"))
    cluster = environment.cluster
    zone = case.get("zone") or cluster.gpu.zone or (cluster.zones[0] if cluster.zones else min(zones))
    quota = case.get("quota")
    code = quota_code(instance.name, cluster.gpu.capacity_type) or "L-DB2E81BA"
    need = (
        None
        if quota is None
        else QuotaNeed(code, float(quota), 0, max(1, cluster.gpu.desired) * instance.vcpus)
    )
    return Facts(str(case.get("account", "")), instance, zones, zone, need, dict(case.get("zone_ids") or {}))


def judged(folder: Path) -> dict[str, Any]:
    """The rows of one case folder, and the two figures most of them hang on (None where config.json does not say enough)."""
    case = case_of(folder)
    instance = instance_of(case["instance"])
    try:
        model, environment = model_of(folder.name, case), environment_of(case)
    except ValidationError as error:
        raise CaseRefused(in_one_line(error)) from None
    try:
        inspection = inspection_of(folder, case, model)
    except SlipwayError as error:  # as the run ends, before there is a table
        row = Check("repo", "fail", error.cause, error.next_command or "")
        return {
            "case": folder.name,
            "rows": [row_of(row)],
            "kv_bytes_per_token": None,
            "weights_bytes_per_gpu": None,
        }
    model = asked(model, inspection)
    documents = serving(
        ROOT, model, environment, Weights.expected(model, inspection, environment.storage.model_bucket)
    )
    checks = [
        *judge_model(model, inspection, instance, documents, environment.cluster.gpu.volume_gib),
        *judge_environment(environment, facts_of(case, environment, instance), documents),
    ]
    checks = [check for check in checks if check.name != "vCPU quota" or "quota" in case]
    kv_bytes, weight_bytes = figures(Engine(model, inspection, instance, documents))
    return {
        "case": folder.name,
        "rows": [row_of(check) for check in checks],
        "kv_bytes_per_token": kv_bytes,
        "weights_bytes_per_gpu": weight_bytes,
    }


def figures(engine: Engine) -> tuple[int | None, int | None]:
    """(bytes of KV cache each token takes on a GPU, bytes of weights on a GPU)."""
    try:
        found = engine.plan()
    except Unsaid:
        return None, None
    return found.kv_per_token, found.weights.even


def row_of(check: Check) -> dict[str, str]:
    return {
        "name": check.name,
        "status": check.status,
        "detail": check.detail,
        "next_command": check.next_command,
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="a folder with case.json")
    parser.add_argument("--json", action="store_true", help="one JSON line; without it, a table")
    given = parser.parse_args(arguments)
    try:
        found = judged(given.folder.resolve())
    except CaseRefused as refused:
        sys.stderr.write(f"error: {refused}\n")
        return 2
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    for row in found["rows"]:
        sys.stdout.write(f"{row['status']:<5} {row['name']:<13} {row['detail']}\n")
        if row["next_command"]:
            sys.stdout.write(f"{'':<19} next: {row['next_command']}\n")
    for name in ("kv_bytes_per_token", "weights_bytes_per_gpu"):
        sys.stdout.write(f"{name}: {found[name]}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
