"""The hub's webhook brings new commits to a proof with no command run: of many the newest alone; a forged one starts nothing."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi
from slipway_sandbox.testing import HUB_READER

from tasks.releases.ledger import Ledger
from tests.support.loopback import free_port
from tests.support.platform import eventually
from tests.support.project import BUCKET, ENVIRONMENT, Project, edit
from tests.support.published import REPO, Publish, publishing, staged
from tests.support.worker import working

pytestmark = pytest.mark.long

PATIENCE = 300.0
SETTLE = "3s"


@pytest.fixture(scope="module")
def publish(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publish]:
    edit(project.home / "environments" / f"{ENVIRONMENT}.yaml", {"watch": {"settle": SETTLE}})
    with publishing(project, tmp_path_factory.mktemp("hub")) as commit, working(project, ENVIRONMENT):
        yield commit


@pytest.fixture(scope="module")
def receiver(publish: Publish, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The receiver's address; the hub has a webhook that leads to it."""
    folder = tmp_path_factory.mktemp("receiver")
    secret, port = secrets.token_hex(32), free_port()
    (folder / "secret").write_text(secret)
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks.webhook", ENVIRONMENT, str(folder / "secret")],
        cwd=project.home,
        env={**project.environment, "SLIPWAY_WEBHOOK_PORT": str(port)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}/hub"
    try:
        eventually(lambda: is_up(address), "the receiver is up", PATIENCE)
        HfApi(endpoint=project.sandbox.hub_url, token=HUB_READER).create_webhook(
            url=address, watched=[{"type": "model", "name": REPO}], domains=["repo"], secret=secret
        )
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        log.close()
        print(told := (folder / "log").read_text())
    assert secret not in told
    assert f"followed: {REPO}@main for tiny-llama" in told


def is_up(address: str) -> bool:
    try:
        return httpx.get(address.replace("/hub", "/healthz"), trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def prefect(project: Project, path: str, body: dict[str, Any]) -> Any:
    answer = httpx.post(f"{project.environment['PREFECT_API_URL']}{path}", json=body, timeout=60)
    return answer.raise_for_status().json()


def runs(project: Project) -> list[dict[str, Any]]:
    """The runs of slipway-watch that a deployment made."""
    asked = {
        "flows": {"name": {"any_": ["slipway-watch"]}},
        "flow_runs": {"deployment_id": {"is_null_": False}},
        "sort": "START_TIME_ASC",
    }
    found: list[dict[str, Any]] = prefect(project, "/flow_runs/filter", asked)
    return found


def ledger(project: Project) -> Ledger:
    return Ledger(project.client("s3"), BUCKET, ENVIRONMENT, "tiny-llama")


def serves(project: Project, commit: str) -> bool:
    """Whether it is proven."""
    return project.serving().rolling is None and project.commit() == commit


def all_ended(project: Project, count: int) -> bool:
    states = [one["state_type"] for one in runs(project)]
    return len(states) >= count and set(states) <= {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def test_a_commit_is_proven_with_no_command_run(receiver: str, publish: Publish, project: Project) -> None:
    began = time.monotonic()
    newest = publish(11)
    eventually(lambda: serves(project, newest), "the commit serves", PATIENCE)
    eventually(lambda: all_ended(project, 1), "its run has ended", PATIENCE)
    (kept,) = [one for one in ledger(project).watched().commits if one.commit == newest]
    print(f"commit to a run that has ended: {time.monotonic() - began:.1f} s; {kept.seconds}")
    (run,) = runs(project)
    assert run["state_name"] == "Proven"
    assert run["parameters"] == {"environment": ENVIRONMENT, "model": "tiny-llama"}
    assert project.complete()


def test_of_ten_commits_in_a_row_the_newest_alone_is_built(
    receiver: str, publish: Publish, project: Project
) -> None:
    before = len(runs(project))
    commits = [publish(20 + number) for number in range(10)]
    eventually(lambda: serves(project, commits[-1]), "the newest serves", PATIENCE)
    eventually(lambda: all_ended(project, before + 1), "its run has ended", PATIENCE)
    assert [staged(project, commit) > 0 for commit in commits] == [False] * 9 + [True]
    assert len(runs(project)) == before + 1


def test_a_forged_webhook_starts_nothing_and_is_told(receiver: str, project: Project) -> None:
    before = len(runs(project))
    document = {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {"type": "model", "name": REPO},
        "updatedRefs": [{"ref": "refs/heads/main", "oldSha": None, "newSha": "0" * 40}],
    }
    for headers in ({}, {"X-Webhook-Secret": "0" * 64}):
        answer = httpx.post(receiver, json=document, headers=headers, trust_env=False)
        assert answer.status_code == 401
    asked = {"filter": {"event": {"name": ["slipway.webhook.forged"]}}}
    (event,) = eventually(lambda: prefect(project, "/events/filter", asked)["events"], "it is told", PATIENCE)
    assert event["resource"]["prefect.resource.id"] == f"slipway.environment.{ENVIRONMENT}"
    assert event["payload"] == {"requests": 1, "from": "127.0.0.1"}
    assert len(runs(project)) == before
