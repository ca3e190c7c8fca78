"""The public SSM parameters that name EKS's node images, which moto does not have.

Paths: docs.aws.amazon.com/eks/latest/userguide/retrieve-ami-id.html and …/retrieve-ami-id-bottlerocket.html. The
image ids are made up, one for each path, and stay the same.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from moto.core.utils import utcnow

from slipway_sandbox.aws.eks.clusters import KUBERNETES
from slipway_sandbox.aws.eks.nodegroups import RELEASE, release_of
from slipway_sandbox.aws.http import Application, Environ, StartResponse
from slipway_sandbox.settings import ACCOUNT_ID

BOTTLEROCKET = "1.50.0"


class Parameters:
    """moto's SSM, given the image parameters of the caller's region on its first request."""

    def __init__(self, moto: Application, region: str) -> None:
        self._moto, self._region = moto, region
        self._lock, self._ready = threading.Lock(), False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            if not self._ready:
                load(self._region)
                self._ready = True
        return self._moto(environ, start_response)


def load(region: str) -> None:
    """Put the parameters into moto's backend of one region."""
    from moto.ssm.models import Parameter, ssm_backends

    backend: Any = ssm_backends[ACCOUNT_ID][region]
    for name, value in image_parameters(region):
        backend._parameters[name].append(
            Parameter(ACCOUNT_ID, name, value, "String", None, None, None, utcnow(), 1, "text")
        )


def image_parameters(region: str) -> Iterator[tuple[str, str]]:
    """(name, value) of every Kubernetes version's AL2023 and Bottlerocket images."""
    for version in KUBERNETES:
        for arch in ("x86_64", "arm64"):
            for variant in ("standard", "nvidia"):
                images = f"/aws/service/eks/optimized-ami/{version}/amazon-linux-2023/{arch}/{variant}"
                base, name = (
                    f"{images}/recommended",
                    f"amazon-eks-node-al2023-{arch}-{variant}-{version}-v{RELEASE}",
                )
                yield f"{base}/image_id", image_id(region, base)
                yield f"{base}/release_version", release_of(version)
                yield f"{base}/image_name", name
                yield f"{images}/{name}/image_id", image_id(region, base)
                yield f"{images}/{name}/image_name", name
            for flavour in ("", "-nvidia"):
                base = f"/aws/service/bottlerocket/aws-k8s-{version}{flavour}/{arch}/latest"
                yield f"{base}/image_id", image_id(region, base)
                yield f"{base}/image_version", BOTTLEROCKET


def image_id(region: str, path: str) -> str:
    return "ami-" + hashlib.sha256(f"{region}{path}".encode()).hexdigest()[:17]
