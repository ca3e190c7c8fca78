"""The manifest of a staged model: written last. Where it is, every file it lists is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from pydantic import ValidationError

from tasks.records.errors import StagingFailed
from tasks.records.results import HubModel, Manifest, StagedFile, StagedModel
from tasks.staging.folder import StagedFolder
from tasks.staging.hashes import crc64nvme
from tasks.staging.objects import AlreadyThere


@dataclass(frozen=True)
class StoredManifest:
    """A manifest as it is in the bucket; `sha256` is over `body`, the object's bytes."""

    manifest: Manifest
    body: bytes
    etag: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def read(folder: StagedFolder) -> StoredManifest | None:
    """Raises StagingFailed where the object is not a manifest."""
    found = folder.bucket.get(folder.manifest_key)
    if found is None:
        return None
    body, etag = found
    try:
        return StoredManifest(Manifest.model_validate_json(body), body, etag)
    except ValidationError as error:
        where = f"s3://{folder.bucket.name}/{folder.manifest_key}"
        raise StagingFailed(
            f"{where} is not a manifest this version can read",
            evidence=str(error).splitlines()[:6],
            next_command=f"aws s3 rm {where}, then run the same command again: files that are whole stay",
        ) from error


def describes(manifest: Manifest, model: HubModel) -> bool:
    """Whether it lists exactly the files asked for, as the hub has them."""
    listed = {file.path: file for file in manifest.files}
    return (
        (manifest.repo, manifest.commit) == (model.repo, model.commit)
        and listed.keys() == {file.path for file in model.files}
        and all(
            listed[file.path].size == file.size
            and (file.sha256 is None or listed[file.path].sha256 == file.sha256)
            for file in model.files
        )
    )


def missing(manifest: Manifest, folder: StagedFolder) -> list[str]:
    """Paths the manifest lists whose object is gone or has another size."""
    return lost(manifest, folder.prefix, folder.sizes())


def lost(manifest: Manifest, prefix: str, sizes: dict[str, int]) -> list[str]:
    """The same, from the objects' bytes by key. Pure."""
    return [f.path for f in manifest.files if sizes.get(f"{prefix}/{f.path}") != f.size]


def build(model: HubModel, files: list[StagedFile], staged_at: datetime) -> Manifest:
    try:
        by = version("slipway")
    except PackageNotFoundError:  # run from a checkout that was never installed
        by = "checkout"
    return Manifest(
        repo=model.repo,
        commit=model.commit,
        files=tuple(sorted(files, key=lambda file: file.path)),
        staged_at=staged_at,
        staged_by=by,
    )


def body_of(manifest: Manifest) -> bytes:
    return json.dumps(
        manifest.model_dump(mode="json", exclude={"adapters"}), indent=1, sort_keys=True
    ).encode()


def write(folder: StagedFolder, body: bytes, *, replaces: StoredManifest | None = None) -> StoredManifest:
    """Write and read back. Where another run was first with the same files, its manifest is returned."""
    # what is there now is compared below
    with contextlib.suppress(AlreadyThere):
        instead_of = replaces.etag if replaces else None
        folder.bucket.put(folder.manifest_key, body, crc64nvme(body), instead_of=instead_of)
    stored = read(folder)
    if stored is None or _contents(stored.manifest) != _contents(Manifest.model_validate_json(body)):
        raise StagingFailed(
            f"{folder.uri}: another run stages other files of the same commit",
            evidence=[f"{len(stored.manifest.files) if stored else 'no'} files in its manifest"],
            next_command="let the other run end, then run the same command again",
        )
    return stored


def _contents(manifest: Manifest) -> set[tuple[str, int, str]]:
    """What two manifests of the same files have in common, however the files were cut into parts."""
    return {(file.path, file.size, file.sha256) for file in manifest.files}


def staged_model(folder: StagedFolder, stored: StoredManifest, *, reused: bool) -> StagedModel:
    return StagedModel(
        bucket=folder.bucket.name,
        prefix=folder.prefix,
        repo=stored.manifest.repo,
        commit=stored.manifest.commit,
        total_bytes=stored.manifest.total_bytes,
        manifest_sha256=stored.sha256,
        files_sha256=stored.manifest.files_sha256,
        account=folder.bucket.account,
        reused=reused,
    )
