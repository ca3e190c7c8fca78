"""Hold staged objects to their manifest before pods stream them: names, size and CRC64NVME, as S3 keeps them; no byte is read."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tasks.records.errors import ChecksumMismatch
from tasks.records.results import StagedFile
from tasks.staging.folder import OWN_FOLDER, StagedFolder
from tasks.staging.model_manifest import StoredManifest
from tasks.staging.objects import ObjectHead

_READERS = 16  # heads at a time: a large model has some hundred files


def difference(file: StagedFile, head: ObjectHead | None) -> str:
    """How an object differs from the manifest's file; "" where it does not. Pure."""
    if head is None:
        return f"{file.path} is not there"
    if head.size != file.size:
        return f"{file.path} has {head.size} bytes, {file.size} were staged"
    if head.crc64nvme is None:
        return f"{file.path} has no CRC64NVME of the whole object"
    if head.crc64nvme != file.crc64nvme:
        return f"{file.path} has CRC64NVME {head.crc64nvme}, {file.crc64nvme} was staged"
    return ""


def unlisted(prefix: str, keys: Iterable[str], files: Iterable[StagedFile]) -> list[str]:
    """Objects below the prefix that no manifest lists: vLLM pulls every file and reads every *.safetensors there. Pure.

    vllm 0.32.0, transformers_utils/runai_utils.py (`list_safetensors`, `pull_files`).
    """
    listed = {f"{prefix}/{file.path}" for file in files}
    own = f"{prefix}/{OWN_FOLDER}/"
    return [
        f"{key.removeprefix(prefix + '/')} is not in the manifest"
        for key in sorted(keys)
        if key not in listed and not key.startswith(own)
    ]


def check(folder: StagedFolder, stored: StoredManifest) -> None:
    """Raises ChecksumMismatch where an object is not what was staged, or is listed nowhere; CloudError."""
    files = stored.manifest.files
    foreign = unlisted(folder.prefix, folder.sizes(), files)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="head") as pool:
        heads = pool.map(lambda file: folder.bucket.head(folder.key(file.path)), files)
        wrong = [said for file, head in zip(files, heads, strict=True) if (said := difference(file, head))]
    if found := [*foreign, *wrong]:
        raise ChecksumMismatch(
            f"{folder.uri} is not what was staged: no pod may stream it",
            evidence=found[:10],
            next_command=f"aws s3 rm --recursive {folder.uri}/, then deploy again: it is staged anew",
        )
