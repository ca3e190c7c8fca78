"""What Docker Hub's registry says of the sandbox's images: manifests with sizes, a configuration with CUDA_VERSION; no layers.

Every tag of an image means one manifest, where a real registry has one for each; the fault `image-moved` makes it another.

As registry-1.docker.io answers: a token for everybody (https://distribution.github.io/distribution/spec/auth/token/), an
index by platform, then the manifest.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from aiohttp import web

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.table import resolve

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TOKEN = "anonymous"
# vLLM 0.32.0's docker/Dockerfile: ARG CUDA_VERSION
CUDA = {"vllm/vllm-openai": "13.0.3"}


class Registry:
    """GET of a token, of manifests by tag and digest, and of configurations."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        # of as many images as the table has
        self._documents: dict[str, tuple[str, bytes]] = {}

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/v2/token", self._token)
        app.router.add_get("/v2/{repository:.+}/{kind:manifests|blobs}/{reference}", self._document)

    async def _token(self, request: web.Request) -> web.Response:
        return web.json_response({"token": TOKEN})

    async def _document(self, request: web.Request) -> web.Response:
        repository, reference = request.match_info["repository"], request.match_info["reference"]
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            challenge = f'Bearer realm="{request.url.origin()}/v2/token",service="sandbox",scope="repository:{repository}:pull"'
            return web.json_response({"errors": []}, status=401, headers={"WWW-Authenticate": challenge})
        named = f"{repository}:{reference}"
        if (image := resolve(repository)) and not self._faults.is_on("image-not-found", named):
            # a digest may be asked for before its tag, by a process that has it from earlier
            first, other = (self._publish(repository, image.size_bytes, build) for build in ("1", "2"))
            if not reference.startswith("sha256:"):
                reference = other if self._faults.is_on("image-moved", named) else first
        if reference not in self._documents:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        kind, body = self._documents[reference]
        return web.Response(body=body, content_type=kind)

    def _publish(self, repository: str, size: int, build: str) -> str:
        cuda = CUDA.get(repository)
        environment = ["PATH=/usr/bin", *([f"CUDA_VERSION={cuda}"] if cuda else [])]
        settings = {"Env": environment, "Labels": {"build": build}}
        configuration = self._put("application/json", {"os": "linux", "config": settings})
        layers = [{"digest": "sha256:" + "0" * 64, "size": size}]
        manifest = self._put(
            MANIFEST, {"mediaType": MANIFEST, "config": {"digest": configuration}, "layers": layers}
        )
        platforms = [{"os": "linux", "architecture": "amd64"}]
        entries = [{"digest": manifest, "platform": platform} for platform in platforms]
        return self._put(INDEX, {"mediaType": INDEX, "manifests": entries})

    def _put(self, kind: str, document: dict[str, Any]) -> str:
        body = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self._documents[digest] = (kind, body)
        return digest
