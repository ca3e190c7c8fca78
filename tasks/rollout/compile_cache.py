"""Keep what vLLM compiles on the model's volume: which models can, by what key, and what a start says of it. Pure.

The program that does it in the pod is k8s/serving/start.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.records.model import Model
from tasks.records.quantities import parse_quantity
from tasks.records.starts import CompileCache
from tasks.rollout.weights import Weights, most_replicas

FOLDER = ".compile"  # on the volume, beside the folders of the weights
MOUNTED = "/compile"
IMAGE = "vllm/vllm-openai"  # its entrypoint is known: the program becomes it
PROGRAM = ("python3", "-I", "-S", "-c")
_EAGER = ("--enforce-eager", "-O0", "--optimization-level=0")
_OWN = ("VLLM_CACHE_ROOT", "VLLM_DISABLE_COMPILE_CACHE", "TRITON_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE")
_SAID = re.compile(r"slipway: compile cache ([0-9a-f]{16}): (used again|new)$")


def why_off(model: Model, weights: Weights) -> str:
    """Why a model's start keeps nothing of what it compiles; "" where it does."""
    image, at, _ = model.engine.image.partition("@")
    name = re.sub(r":[^/]*$", "", image)
    rules = {
        "cache.compile is 0": not parse_quantity(model.cache.compile),
        "streamed weights have no volume": bool(weights.address),
        "replicas start on clones of a snapshot from before the first start": most_replicas(model) > 1,
        "the image is not named by its digest": not at,
        f"the entrypoint of an image other than {IMAGE} is not known": not f"/{name}".endswith(f"/{IMAGE}"),
        "nothing is compiled eagerly": any(word in model.engine.extra_args for word in _EAGER),
        "engine.env sets its folder": any(name in model.engine.env for name in _OWN),
    }
    return next((why for why, holds in rules.items() if holds), "")


def key_of(image: str, commit: str, arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    """The part of the key that is known before a pod is on its node: another image, commit, flag or variable is another."""
    parts = [image, commit, list(arguments), sorted(variables.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def add(root: Path, model: Model, weights: Weights, pod: dict[str, Any]) -> None:
    """Complete a pod that has its arguments and volumes: program, folder and variables. Does nothing where `why_off` says why."""
    if why_off(model, weights):
        return
    container = pod["containers"][0]
    key = key_of(model.engine.image, weights.commit, container["args"], model.engine.env)
    most = str(int(parse_quantity(model.cache.compile)))
    program = (root / "k8s" / "serving" / "start.py").read_text()
    container["command"] = [*PROGRAM, program, key, most]
    container["env"] += [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "SLIPWAY_COMPILE_CACHE", "value": MOUNTED},
    ]
    # the claim is mounted for writing, and of it this folder alone: the weights' own mount stays read-only
    container["volumeMounts"].append({"name": "models", "mountPath": MOUNTED, "subPath": FOLDER})
    del pod["volumes"][0]["persistentVolumeClaim"]["readOnly"]
    pod["securityContext"]["fsGroupChangePolicy"] = "OnRootMismatch"


def said(log: Sequence[str]) -> CompileCache | None:
    """What a start's log says of its cache; None where it says nothing."""
    found = next((match for line in log if (match := _SAID.search(line))), None)
    return CompileCache(key=found[1], again=found[2] == "used again") if found else None
