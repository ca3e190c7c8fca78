"""Pin a repo of the Hugging Face Hub to a commit, list its files, read the first bytes of one."""

from __future__ import annotations

from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import ModelInfo

from tasks.records.errors import HubError, HubUnavailable, RepoNotFound, StagingFailed
from tasks.records.model import Source
from tasks.records.results import HubFile, HubModel
from tasks.staging.addresses import FileAddress
from tasks.staging.backoff import ATTEMPTS
from tasks.staging.download import Downloader
from tasks.staging.link import Hub
from tasks.staging.ranges import FileRange
from tasks.staging.refusals import is_transient, refusal, unreachable
from tasks.staging.selection import select
from tasks.staging.stop import Stop

# huggingface_hub changed its HTTP library from httpx to httpx2; the base of its own error is that library's.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
_ASK_SECONDS = 30.0


def resolve(source: Source, hub: Hub) -> HubModel:
    """Pin `source` to a commit and list what will be staged; read one byte, to prove that the files may be read.

    Pickles and other frameworks' weights are left out where the repo has safetensors; `skipped` says so. Raises TokenMissing,
    TokenRejected, LicenceNotAccepted, RepoNotFound, RevisionNotFound, HubUnavailable, or HubError.
    """
    info = model_info(source, hub)
    files, skipped = select([file_of(sibling) for sibling in info.siblings or ()], source)
    if not info.sha or not files:
        raise RepoNotFound(
            f"{source.repo} at {source.revision} has no file to stage",
            evidence=skipped[:10],
            next_command="look at source.allow and source.ignore of the model's file",
        )
    model = HubModel(repo=source.repo, commit=info.sha, gated=bool(info.gated), files=files, skipped=skipped)
    # a gated repo's list is public, its files are not
    smallest = min((f for f in files if f.size), key=lambda f: f.size, default=None)
    if smallest:
        read_head(model, smallest.path, 1, hub)
    return model


def read_head(model: HubModel, path: str, length: int, hub: Hub, *, offset: int = 0) -> bytes:
    """Read `length` bytes of one file from `offset`, fewer where it ends before. Raises HubError or StagingFailed."""
    file = next((f for f in model.files if f.path == path), None)
    if file is None:
        raise StagingFailed(f"{model.repo} at {model.commit[:12]} has no file {path}")
    data = bytearray(max(0, min(length, file.size - offset)))
    with hub.linked() as link:
        address = FileAddress(link, model.repo, model.commit, file)
        Downloader(link).read(FileRange(address, offset, memoryview(data)))
    return bytes(data)


def model_info(source: Source, hub: Hub) -> ModelInfo:
    """Ask for the repo's list. huggingface_hub does not retry it: a 429 or 503 would end a run that could have waited."""
    # False: never the token of whoever is logged in here
    api = HfApi(endpoint=hub.endpoint, token=hub.token or False)
    backoff = hub.backoff(Stop())
    doing = f"GET revision {source.revision} of {source.repo}"
    problem: HubError = HubUnavailable("the hub was not asked")
    for failed in range(1, ATTEMPTS + 1):
        backoff.wait()
        pause = 0.0
        try:
            return api.model_info(
                source.repo, revision=source.revision, files_metadata=True, timeout=_ASK_SECONDS
            )
        except HfHubHTTPError as error:
            status, headers = error.response.status_code, error.response.headers
            problem = refusal(status, headers, hub, repo=source.repo, doing=doing)
            problem.__cause__ = error
            if not is_transient(status):
                break
            pause = backoff.heed(status, headers)
        except _TRANSPORT_ERROR as error:
            problem = unreachable(hub.endpoint, doing, error)
        backoff.again(failed, problem, pause)
    raise problem


def file_of(sibling: Any) -> HubFile:
    large = sibling.lfs
    return HubFile(
        path=sibling.rfilename,
        size=sibling.size or 0,
        sha256=large.sha256 if large else None,
        git_sha1=None if large else sibling.blob_id,
    )
