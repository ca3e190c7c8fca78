"""Who keeps what vLLM compiles, by what key, and what the program in the pod does with the folders."""

from __future__ import annotations

import os
import runpy
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tasks.records.starts import CompileCache
from tasks.releases.records import Start
from tasks.rollout.compile_cache import key_of, said, why_off
from tasks.rollout.manifests import serving
from tasks.rollout.start_report import told_cache
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, WEIGHTS, a_cache, a_model, an_environment

DIGEST = f"@sha256:{'a' * 64}"
PINNED = {"image": f"vllm/vllm-openai:v0.32.0{DIGEST}"}
VOLUME = Weights.of(a_cache(), WEIGHTS)
CLONES = Weights.of(a_cache(snapshot="s", size="30Gi", storage_class="gp3-clone"), WEIGHTS)
STREAM = Weights("c", "", "", WEIGHTS, address="s3://b/p")
PROGRAM: dict[str, Any] = runpy.run_path(str(ROOT / "k8s" / "serving" / "start.py"))
NOW = 1_000_000_000.0
GPU = "NVIDIA A10G, 580.95.05\n"


@pytest.mark.parametrize(
    ("over", "weights", "why"),
    [
        ({}, VOLUME, ""),
        ({"engine": {"image": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/hub/vllm/vllm-openai:v0.32.0{DIGEST}"}}, VOLUME, ""),
        ({"cache": {"compile": "0"}}, VOLUME, "cache.compile is 0"),
        ({}, STREAM, "streamed weights have no volume"),
        ({"scaling": {"max_replicas": 2}}, CLONES, "replicas start on clones of a snapshot from before the first start"),
        ({"engine": {"image": "vllm/vllm-openai:v0.32.0"}}, VOLUME, "the image is not named by its digest"),
        ({"engine": {"image": f"acme/vllm:1{DIGEST}"}}, VOLUME, "the entrypoint of an image other than vllm/vllm-openai is not known"),
        ({"engine": {"image": f"acme/notvllm/vllm-openai:1{DIGEST}"}}, VOLUME, "the entrypoint of an image other than vllm/vllm-openai is not known"),
        ({"engine": {"extra_args": ["--enforce-eager"]}}, VOLUME, "nothing is compiled eagerly"),
        ({"engine": {"env": {"VLLM_DISABLE_COMPILE_CACHE": "1"}}}, VOLUME, "engine.env sets its folder"),
    ],
)  # fmt: skip
def test_who_keeps_nothing_is_told_by_its_rule(over: dict[str, Any], weights: Weights, why: str) -> None:
    model = a_model(**over | {"engine": PINNED | over.get("engine", {})})
    assert why_off(model, weights) == why
    container = pod_of(model, weights)["containers"][0]
    assert ("command" in container) == (not why)


def pod_of(model: Any, weights: Weights) -> dict[str, Any]:
    documents = serving(ROOT, model, an_environment(), weights)
    (found,) = (d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment")
    return dict(found)


def test_the_weights_stay_read_only_and_one_folder_beside_them_is_written() -> None:
    pod = pod_of(a_model(engine=PINNED), VOLUME)
    container = pod["containers"][0]
    assert container["volumeMounts"] == [
        {"name": "models", "mountPath": "/models", "readOnly": True},
        {"name": "models", "mountPath": "/compile", "subPath": ".compile"},
    ]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "model-cache-llama"}
    assert container["command"][-1] == str(2 * 2**30)
    for document in serving(ROOT, a_model(engine=PINNED), an_environment(), VOLUME):
        if document["apiVersion"] in ("v1", "apps/v1", "networking.k8s.io/v1"):
            kubernetes_validate.validate(document, "1.33", strict=True)


@pytest.mark.parametrize(
    "other",
    [
        ("i2", "c", ["--a"], {}),
        ("i", "c2", ["--a"], {}),
        ("i", "c", ["--b"], {}),
        ("i", "c", ["--a", "--a"], {}),
        ("i", "c", ["--a"], {"VLLM_X": "1"}),
    ],
)
def test_another_image_commit_flag_or_variable_is_another_key(other: tuple[Any, ...]) -> None:
    assert key_of(*other) != key_of("i", "c", ["--a"], {})
    assert key_of(*other) == key_of(*other)


def gpus(monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    answer = subprocess.CompletedProcess([], 0, lines, "")
    monkeypatch.setattr(subprocess, "run", lambda *of, **over: answer)


@pytest.mark.parametrize("other", ["NVIDIA L4, 580.95.05\n", "NVIDIA A10G, 570.1\n", GPU * 2])
def test_another_gpu_driver_or_number_of_gpus_is_another_key(
    monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    gpus(monkeypatch, GPU)
    mine = PROGRAM["key_of"]("given")
    assert mine == PROGRAM["key_of"]("given") != PROGRAM["key_of"]("other")
    gpus(monkeypatch, other)
    assert PROGRAM["key_of"]("given") != mine


def test_a_node_whose_gpus_are_not_known_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, "\n")
    with pytest.raises(OSError, match="lists no GPU"):
        PROGRAM["key_of"]("given")


def start(root: Path, key: str, pod: str, at: float, most: int = 1 << 20) -> tuple[str, bool]:
    folder, again = PROGRAM["prepared"](root, key, pod, most, at)
    return folder.name, again


def fill(root: Path, name: str, at: float, size: int = 4096, *, whole: bool = True) -> None:
    """What a start leaves; with the file of the startup probe where it became ready."""
    (root / name / "vllm").mkdir(parents=True)
    (root / name / "vllm" / "graph").write_bytes(b"x" * size)
    if whole:
        (root / name / "complete").touch()
        os.utime(root / name / "complete", (at, at))


def test_a_key_is_used_again_once_its_start_became_ready(tmp_path: Path) -> None:
    assert start(tmp_path, "k", "p1", NOW) == ("k.p1", False)
    assert (tmp_path / ".p1").read_text() == "k.p1"
    # another pod meanwhile: what is not whole is left to its start, and not read
    assert start(tmp_path, "k", "p2", NOW) == ("k.p2", False)
    assert {path.name for path in tmp_path.iterdir()} == {"k.p1", ".p1", "k.p2", ".p2"}
    (tmp_path / "k.p1" / "complete").touch()
    assert start(tmp_path, "k", "p3", NOW) == ("k.p1", True)
    assert start(tmp_path, "other", "p3", NOW) == ("other.p3", False)


def test_what_a_killed_start_left_is_never_used(tmp_path: Path) -> None:
    fill(tmp_path, "k.p1", NOW, whole=False)
    os.utime(tmp_path / "k.p1", (NOW, NOW))
    assert start(tmp_path, "k", "p1", NOW) == ("k.p1", False)  # the same pod again: emptied
    assert not list((tmp_path / "k.p1").iterdir())
    fill(tmp_path, "k.p0", NOW, whole=False)
    os.utime(tmp_path / "k.p0", (NOW, NOW))
    start(tmp_path, "k", "p2", NOW + PROGRAM["STALE_SECONDS"] + 1)
    assert not (tmp_path / "k.p0").exists()


def test_old_keys_go_beyond_the_bound_and_this_key_is_counted_first(tmp_path: Path) -> None:
    for age, name in enumerate(["a.p", "b.p", "k.p"]):
        fill(tmp_path, name, NOW - age, 400_000)
    assert start(tmp_path, "k", "q", NOW) == ("k.p", True)
    assert {path.name for path in tmp_path.iterdir()} == {"k.p", "a.p"}


def test_a_folder_beyond_the_bound_by_itself_is_compiled_anew(tmp_path: Path) -> None:
    fill(tmp_path, "k.p", NOW, 2_000_000)
    assert start(tmp_path, "k", "q", NOW) == ("k.q", False)
    assert not (tmp_path / "k.p").exists()


def test_few_keys_are_kept_however_small(tmp_path: Path) -> None:
    for age in range(9):
        fill(tmp_path, f"k{age}.p", NOW - age)
    start(tmp_path, "new", "q", NOW)
    assert sorted(path.name for path in tmp_path.glob("k*")) == [
        f"k{age}.p" for age in range(PROGRAM["KEPT"])
    ]


def test_a_volume_without_room_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the volume has less than"):
        start(tmp_path, "k", "p", NOW, most=1 << 60)


@pytest.mark.parametrize(
    ("line", "cache"),
    [
        ("slipway: compile cache 0123456789abcdef: new", CompileCache(key="0123456789abcdef", again=False)),
        ("2026-01-01T00:00:00Z slipway: compile cache 0123456789abcdef: used again", CompileCache(key="0123456789abcdef", again=True)),
        ("slipway: no compile cache: OSError: nvidia-smi lists no GPU", None),
    ],
)  # fmt: skip
def test_what_a_start_says_of_its_cache(line: str, cache: CompileCache | None) -> None:
    assert said(["x", line]) == cache


def a_start(minute: int, compiled: float, cache: CompileCache | None) -> Start:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    return Start(at=at, cause="wake", phases={"weights": 1.0, "compile": compiled}, compile_cache=cache)


def test_the_time_saved_is_beside_the_start_that_made_the_cache() -> None:
    made, again = CompileCache(key="k", again=False), CompileCache(key="k", again=True)
    first = a_start(0, 60.0, made)
    second = a_start(1, 20.0, again).after([a_start(0, 90.0, CompileCache(key="other", again=False)), first])
    assert second.saved == 40.0
    # the first is not kept for ever
    third = a_start(2, 15.0, again).after([second])
    assert third.saved == 45.0
    assert "45.0 s less than the start that made it" in told_cache(third)
    assert a_start(3, 15.0, again).after([]).saved is None
    assert (first.saved, told_cache(a_start(0, 1.0, None))) == (None, "")
