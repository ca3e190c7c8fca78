"""A repo on the Hugging Face Hub, pinned to a commit: its files, and the first bytes of one of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import ModelInfo

from tasks.records.errors import HubError, HubUnavailable, RepoNotFound, StagingFailed
from tasks.records.model import Source
from tasks.records.progress import Reporter, Silent
from tasks.records.results import HubFile, HubModel
from tasks.staging.addresses import FileAddress
from tasks.staging.backoff import ATTEMPTS, Backoff
from tasks.staging.download import Downloader
from tasks.staging.refusals import is_transient, refusal, unreachable
from tasks.staging.selection import select
from tasks.staging.session import HubSession, hub_endpoint
from tasks.staging.stop import Stop

# huggingface_hub changed its HTTP library from httpx to httpx2; the base of its own error is that library's.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
_ASK_SECONDS = 30.0
SILENT = Silent()


def resolve(
    source: Source,
    *,
    token: str | None,
    endpoint: str | None = None,
    reporter: Reporter = SILENT,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> HubModel:
    """Pin `source` to a commit and list what will be staged; proves that the files may be read, too.

    `endpoint`: the hub's address; HF_ENDPOINT, else the public hub, where None. Pickles and other frameworks'
    weights are left out where the repo has safetensors; `skipped` says so. Raises TokenMissing, TokenRejected,
    LicenceNotAccepted, RepoNotFound, RevisionNotFound, HubUnavailable, or HubError.
    """
    address = hub_endpoint(endpoint)
    backoff = Backoff(Stop(), say=reporter.say, clock=clock, sleep=sleep, chance=chance)
    info = _model_info(source, token, address, backoff)
    files, skipped = select([_file(sibling) for sibling in info.siblings or ()], source)
    if not info.sha or not files:
        raise RepoNotFound(
            f"{source.repo} at {source.revision} has no file to stage",
            evidence=skipped[:10],
            next_command="look at source.allow and source.ignore of the model's file",
        )
    model = HubModel(repo=source.repo, commit=info.sha, gated=bool(info.gated), files=files, skipped=skipped)
    # A gated repo's list is public, only its files are not: one of them is asked for before anything is made.
    smallest = min((f for f in files if f.size), key=lambda f: f.size, default=None)
    if smallest:
        read_head(
            model,
            smallest.path,
            1,
            token=token,
            endpoint=address,
            reporter=reporter,
            clock=clock,
            sleep=sleep,
            chance=chance,
        )
    return model


def read_head(
    model: HubModel,
    path: str,
    length: int,
    *,
    offset: int = 0,
    token: str | None,
    endpoint: str | None = None,
    reporter: Reporter = SILENT,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> bytes:
    """`length` bytes of one file from `offset`, fewer where it ends before. Raises HubError or StagingFailed."""
    file = next((f for f in model.files if f.path == path), None)
    if file is None:
        raise StagingFailed(f"{model.repo} at {model.commit[:12]} has no file {path}")
    data = bytearray(max(0, min(length, file.size - offset)))
    stop = Stop()
    backoff = Backoff(stop, say=reporter.say, clock=clock, sleep=sleep, chance=chance)
    session = HubSession(hub_endpoint(endpoint), token, connections=1)
    try:
        place = FileAddress(session, backoff, model.repo, model.commit, file, token_given=bool(token))
        Downloader(session, backoff, stop, token_given=bool(token)).read(place, offset, memoryview(data))
    finally:
        session.close()
    return bytes(data)


def _model_info(source: Source, token: str | None, endpoint: str, backoff: Backoff) -> ModelInfo:
    """huggingface_hub does not retry this call: a 429 or 503 would end a run that could have waited."""
    api = HfApi(
        endpoint=endpoint, token=token or False
    )  # False: never the token of whoever is logged in here
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
            problem = refusal(
                status,
                headers,
                repo=source.repo,
                endpoint=endpoint,
                token_given=bool(token),
                doing=doing,
            )
            problem.__cause__ = error
            if not is_transient(status):
                break
            pause = backoff.heed(status, headers)
        except _TRANSPORT_ERROR as error:
            problem = unreachable(endpoint, doing, error)
        backoff.again(failed, problem, pause)
    raise problem


def _file(sibling: Any) -> HubFile:
    large = sibling.lfs
    return HubFile(
        path=sibling.rfilename,
        size=sibling.size or 0,
        sha256=large.sha256 if large else None,
        git_sha1=None if large else sibling.blob_id,
    )
