"""Table of container images and the local programs that run for them."""

from __future__ import annotations

import hashlib
import re
import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PYTHON = (sys.executable,)
_SHELLS: Mapping[str, tuple[str, ...]] = {"sh": ("/bin/sh",), "bash": ("/bin/bash",)}
_PYTHONS: Mapping[str, tuple[str, ...]] = {"python3": _PYTHON, "python": _PYTHON}
# The serving image's Python, which finds a torch.
_ROOT = Path(__file__).resolve().parents[2]
_WITH_TORCH = ("/usr/bin/env", f"PYTHONPATH={_ROOT}:{_ROOT}/slipway_sandbox/images/vllm/site", *_PYTHON)
# The pause container waits for SIGTERM or SIGINT and exits with 0.
_PAUSE = (*_PYTHON, "-I", "-S", "-c", "import signal as s; s.sigwait({s.SIGTERM, s.SIGINT})")
_COREUTILS = (
    "cat",
    "echo",
    "sleep",
    "true",
    "false",
    "ls",
    "env",
    "date",
    "touch",
    "mkdir",
    "rm",
    "test",
    "printf",
)


def _module(name: str) -> tuple[str, ...]:
    return (*_PYTHON, "-m", f"slipway_sandbox.images.{name}")


def _files(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The named programs that exist in this machine's /bin or /usr/bin."""
    folders = (Path("/bin"), Path("/usr/bin"))
    found = {name: next((f / name for f in folders if (f / name).exists()), None) for name in names}
    return {name: (str(path),) for name, path in found.items() if path}


@dataclass(frozen=True)
class Image:
    """`entrypoint` and `arguments` are ENTRYPOINT and CMD; `programs` maps a pod's argv[0] to the real argv's beginning."""

    name: str
    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    programs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    size_bytes: int = 50_000_000
    stop_signal: signal.Signals = signal.SIGTERM  # the image's STOPSIGNAL, which the runtime sends first
    folders: Mapping[str, Path] = field(default_factory=dict)  # of the image, that a container may work in

    def program(self, name: str) -> tuple[str, ...] | None:
        """The beginning of the real argv for `name`, a bare name or a path; None if the image has no such program."""
        return self.programs.get(name) or self.programs.get(name.rpartition("/")[2])

    def argv(self, command: list[str] | None, args: list[str] | None) -> list[str]:
        """Merge a pod's command and args with the image's, by the rules of the Kubernetes API."""
        if command:
            return [*command, *(args or ())]
        return [*self.entrypoint, *(args or self.arguments)]

    def shims(self, folder: Path) -> Path:
        """Make a folder for PATH with a script for each of the image's programs."""
        shims = folder / re.sub(r"[^a-z0-9.]+", "-", self.name)
        shims.mkdir(parents=True, exist_ok=True)
        for name, real in self.programs.items():
            shim = shims / name
            # A script, not a link: Python finds its virtual environment beside the path it was called by.
            script = f'#!/bin/sh\nexec {shlex.join(real)} "$@"\n'
            if "/" not in name and (not shim.exists() or shim.read_text() != script):
                partial = shims / f".{name}.partial"
                partial.write_text(script)
                partial.chmod(0o755)
                partial.replace(shim)
        return shims


_IMAGES = {
    image.name: image
    for image in (
        Image(
            "vllm/vllm-openai",
            ("vllm", "serve"),
            programs={
                "vllm": _module("vllm"),
                "nvidia-smi": _module("nvidia_smi"),
                **dict.fromkeys(_PYTHONS, _WITH_TORCH),
                **_SHELLS,
                **_files(_COREUTILS),
            },
            size_bytes=10_300_000_000,
        ),
        *(
            Image(
                name,
                ("nginx",),
                ("-g", "daemon off;"),
                {"nginx": _module("nginx"), **_SHELLS, **_files(_COREUTILS)},
                72_000_000,
                signal.SIGQUIT,
            )
            for name in ("nginx", "nginxinc/nginx-unprivileged")
        ),
        Image(
            "ghcr.io/berriai/litellm",
            ("/app/docker-entrypoint.sh",),
            programs=dict.fromkeys(_PYTHONS, _module("litellm")),
            size_bytes=600_000_000,
        ),
        Image(
            "nvcr.io/nvidia/k8s-device-plugin",
            ("nvidia-device-plugin",),
            programs={
                "nvidia-device-plugin": _module("device_plugin"),
                "gpu-feature-discovery": _module("gpu_feature_discovery"),
            },
            size_bytes=180_000_000,
        ),
        Image(
            "nvcr.io/nvidia/k8s/dcgm-exporter",
            ("dcgm-exporter",),
            programs={"dcgm-exporter": _module("dcgm_exporter")},
            size_bytes=400_000_000,
        ),
        Image(
            "ghcr.io/kedacore/keda",
            ("keda",),
            programs={"keda": _module("keda")},
            size_bytes=105_000_000,
        ),
        Image(
            "public.ecr.aws/karpenter/controller",
            ("controller",),
            programs={"controller": _module("karpenter")},
            size_bytes=60_000_000,
        ),
        Image(
            "public.ecr.aws/eks/aws-load-balancer-controller",
            ("/controller",),
            programs={"controller": _module("load_balancers")},
            size_bytes=40_000_000,
        ),
        Image(
            "quay.io/prometheus/prometheus",
            ("prometheus",),
            (
                "--config.file=/etc/prometheus/prometheus.yml",
                "--storage.tsdb.path=/prometheus",
            ),
            {"prometheus": _module("prometheus")},
            110_000_000,
        ),
        Image(
            "public.ecr.aws/docker/library/python",
            ("python3",),
            # the standard library alone, as in the image
            programs=dict.fromkeys(_PYTHONS, (*_PYTHON, "-S")),
            size_bytes=46_000_000,
        ),
        # the product's own, by the name it has in an ECR repository: this checkout, as the Dockerfile copies it
        Image(
            "slipway",
            (),
            programs={"prefect": (*_PYTHON, "-m", "prefect"), **_PYTHONS, **_SHELLS},
            folders={"/slipway": Path(__file__).resolve().parents[3]},
        ),
        Image("registry.k8s.io/pause", ("pause",), programs={"pause": _PAUSE}, size_bytes=320_000),
        Image(
            "public.ecr.aws/docker/library/busybox",
            (),
            ("sh",),
            {**_SHELLS, **_files(_COREUTILS)},
            4_300_000,
        ),
    )
}


# an image through ECR's pull-through cache of Docker Hub: ACCOUNT.dkr.ecr.REGION.amazonaws.com/PREFIX/
_CACHED = re.compile(r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/[^/]+/")


def repository(image: str) -> str:
    """Strip tag, digest and Docker Hub's prefixes from an image reference."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    name = _CACHED.sub("", name)
    for prefix in ("library/", "docker.io/library/", "index.docker.io/", "docker.io/"):
        name = name.removeprefix(prefix)
    return name


def resolve(image: str) -> Image | None:
    """Find the image of a reference, whatever its tag or digest; None if the sandbox has no such image."""
    return _IMAGES.get(repository(image))


def image_id(image: str) -> str:
    """The digest reference a runtime reports. A tag's digest is the hash of its name."""
    if "@" in image:
        return f"{repository(image)}@{image.partition('@')[2]}"
    return f"{repository(image)}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"
