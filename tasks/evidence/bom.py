"""The bill of materials of a release: CycloneDX 1.6 with the model, its files, the engine's image and its settings. Pure.

https://cyclonedx.org/docs/1.6/json/ ; purl types huggingface and oci: github.com/package-url/purl-spec, types-doc.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tasks.records.results import Manifest, Release
from tasks.releases.images import by_digest

# of the identifiers made from a release's id and the number of its evidence: the same evidence, the same serial number
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:slipway:release-evidence:v1")


def bill_of_materials(
    release: Release,
    manifest: Manifest,
    config: Mapping[str, Any],
    *,
    sequence: int,
    at: datetime,
    slipway_version: str,
    engine_version: str = "",
) -> bytes:
    """The document as JSON. `config`: the model's config.json; `at`: when it is written."""
    model, engine = _model(release, manifest, config), _engine(release, engine_version)
    adapters = [
        _weights(f"adapter/{lora.name}", adapter)
        for lora, adapter in zip(release.engine.lora, manifest.adapters, strict=True)
    ]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, f'{release.id}/{sequence}')}",
        "version": 1,
        "metadata": {
            "timestamp": at.isoformat(timespec="seconds"),
            "tools": {"components": [{"type": "application", "name": "slipway", "version": slipway_version}]},
            "component": {
                "type": "application",
                "bom-ref": "release",
                "name": release.model,
                "version": release.id,
                "properties": _properties({"environment": release.environment, "bundle": release.bundle}),
            },
        },
        "components": [model, *adapters, engine],
        "dependencies": [
            {"ref": "release", "dependsOn": [part["bom-ref"] for part in (model, *adapters, engine)]},
        ],
    }
    return json.dumps(document, indent=1).encode()


def _model(release: Release, manifest: Manifest, config: Mapping[str, Any]) -> dict[str, Any]:
    architectures = config.get("architectures") or []
    known = {
        "architectureFamily": config.get("model_type"),
        "modelArchitecture": architectures[0] if architectures else None,
    }
    card = {"modelCard": {"modelParameters": {key: str(value) for key, value in known.items() if value}}}
    return _weights("model", manifest) | card


def _weights(reference: str, manifest: Manifest) -> dict[str, Any]:
    owner, _, name = manifest.repo.partition("/")
    return {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "group": owner,
        "name": name,
        "version": manifest.commit,
        "purl": f"pkg:huggingface/{quote(owner)}/{quote(name)}@{manifest.commit}",
        "components": [
            {
                "type": "file",
                "bom-ref": f"{reference}/{file.path}",
                "name": file.path,
                "hashes": [{"alg": "SHA-256", "content": file.sha256}],
                "properties": _properties({"bytes": file.size}),
            }
            for file in manifest.files
        ],
    }


def _engine(release: Release, version: str) -> dict[str, Any]:
    """The container image. A purl only where its digest is known: a tag names no bytes."""
    name, _, digest = release.image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # the colon of a registry's port
        repository, tag = name, ""
    flags = release.engine.model_dump(mode="json", exclude={"image"}, exclude_none=True)
    component: dict[str, Any] = {
        "type": "container",
        "bom-ref": "engine",
        "name": repository,
        "version": tag or digest,
        "properties": _properties(
            ({"vllm_version": version} if version else {})
            | {f"flag:{flag}": json.dumps(value) for flag, value in flags.items()}
        ),
    }
    if by_digest(release.image):
        given = f"repository_url={quote(repository, safe='')}" + (f"&tag={quote(tag)}" if tag else "")
        component["purl"] = f"pkg:oci/{quote(repository.rpartition('/')[2])}@{quote(digest, safe='')}?{given}"
        component["hashes"] = [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
    return component


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"slipway:{name}", "value": str(value)} for name, value in values.items()]
