"""What an image's registry says of it: its digest, its compressed bytes, the CUDA it was built with. Nothing is pulled.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md and, for tokens,
https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ANY_MANIFEST = {"Accept": ", ".join(INDEXES + MANIFESTS)}
DOCKER_HUB = "registry-1.docker.io"
# asked instead of an image's own registry: a mirror, or the sandbox's
ENDPOINT_VARIABLE = "SLIPWAY_REGISTRY_ENDPOINT"
TIMEOUT_SECONDS = 10.0
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Unknown(Exception):
    """The registry cannot be asked or does not say; the text tells why."""


class Missing(Unknown):
    """The registry says that there is no such image."""


@dataclass(frozen=True)
class Image:
    """`size`: compressed bytes of all layers, 0 where `unknown` says why; `cuda`: "13.0.3", empty for an image without CUDA.

    `missing`: the registry says that there is no such image.
    """

    size: int = 0
    cuda: str = ""
    unknown: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Digest:
    """What a tag means now: "sha256:…", of the index where there is one; empty where `unknown` says why."""

    digest: str = ""
    unknown: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Reference:
    """An image's name in parts. `tag`: a tag or a digest."""

    registry: str
    repository: str
    tag: str

    @classmethod
    def of(cls, image: str) -> Reference:
        """As docker reads it: the first part is a registry where it has a dot, a colon, or is localhost."""
        name, at, digest = image.partition("@")
        head, slash, rest = name.partition("/")
        named = bool(slash) and ("." in head or ":" in head or head == "localhost")
        registry, path = (head, rest) if named else ("docker.io", name)
        repository, _, tag = path.partition(":")
        if registry in ("docker.io", "index.docker.io"):
            registry = DOCKER_HUB
            repository = repository if "/" in repository else f"library/{repository}"
        return cls(registry, repository, digest if at else tag or "latest")


def read_image(image: str, architecture: str = "amd64") -> Image:
    """Size and CUDA of one image. Never raises: what the registry does not tell is `unknown`."""
    try:
        with _asking(image) as registry:
            return registry.read(architecture)
    except Unknown as error:
        return Image(unknown=str(error), missing=isinstance(error, Missing))


def read_digest(image: str) -> Digest:
    """The digest that the image's tag means now. Never raises: what the registry does not tell is `unknown`."""
    try:
        with _asking(image) as registry:
            return Digest(registry.digest())
    except Unknown as error:
        return Digest(unknown=str(error), missing=isinstance(error, Missing))


@contextmanager
def _asking(image: str) -> Iterator[_Registry]:
    """The image's registry; every failure to understand it becomes Unknown, with its name."""
    wanted = Reference.of(image)
    endpoint = os.environ.get(ENDPOINT_VARIABLE) or f"https://{wanted.registry}"
    try:
        with httpx.Client(base_url=endpoint, timeout=TIMEOUT_SECONDS, follow_redirects=True) as client:
            yield _Registry(client, wanted)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unknown(f"{wanted.registry} cannot be reached ({error})") from error
    except Unknown as error:
        raise type(error)(f"{wanted.registry}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise Unknown(f"the answer of {wanted.registry} was not understood ({error!r})") from error


class _Registry:
    def __init__(self, client: httpx.Client, wanted: Reference) -> None:
        self._client, self._wanted = client, wanted
        self._headers: dict[str, str] = {}

    def read(self, architecture: str) -> Image:
        manifest = self._manifest(self._wanted.tag)
        if manifest.get("mediaType") in INDEXES or "manifests" in manifest:
            manifest = self._manifest(self._of_platform(manifest, architecture))
        size = sum(int(layer["size"]) for layer in manifest["layers"])
        configuration = self._get(f"blobs/{manifest['config']['digest']}")
        environment = dict(
            entry.split("=", 1)
            for entry in (configuration.get("config") or {}).get("Env") or ()
            if "=" in entry
        )
        return Image(size, environment.get("CUDA_VERSION", ""))

    def digest(self) -> str:
        """The sha256 of the manifest's bytes: a digest is of nothing else, whatever a header says."""
        body = self._answer(f"manifests/{self._wanted.tag}", _ANY_MANIFEST).content
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def _of_platform(self, index: Mapping[str, Any], architecture: str) -> str:
        for entry in index["manifests"]:
            platform = entry.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
                return str(entry["digest"])
        raise Unknown(f"it has no image of {self._wanted.repository} for linux/{architecture}")

    def _manifest(self, tag: str) -> dict[str, Any]:
        return self._get(f"manifests/{tag}", _ANY_MANIFEST)

    def _get(self, path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        document: dict[str, Any] = self._answer(path, headers).json()
        return document

    def _answer(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        url = f"/v2/{self._wanted.repository}/{path}"
        answer = self._client.get(url, headers={**(headers or {}), **self._headers})
        if answer.status_code == 401 and not self._headers:
            self._headers = self._token(answer.headers.get("www-authenticate", ""))
            answer = self._client.get(url, headers={**(headers or {}), **self._headers})
        if answer.status_code in (401, 403):
            raise Unknown(f"it asks for credentials for {self._wanted.repository}")
        if answer.status_code == 404:
            raise Missing(f"there is no {self._wanted.repository} {self._wanted.tag}")
        answer.raise_for_status()
        return answer

    def _token(self, challenge: str) -> dict[str, str]:
        """The token anybody gets; private registries give none."""
        scheme, _, rest = challenge.partition(" ")
        fields = dict(_CHALLENGE.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            raise Unknown(f"it asks for credentials for {self._wanted.repository}")
        answer = self._client.get(fields.pop("realm"), params=fields)
        if answer.status_code in (401, 403):
            raise Unknown(f"it asks for credentials for {self._wanted.repository}")
        answer.raise_for_status()
        token = answer.json()
        return {"Authorization": f"Bearer {token.get('token') or token['access_token']}"}
