"""Keys of the gateway over their whole life: made, scoped, rotated under load, expired and revoked."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.callers import calling
from tests.support.project import ENVIRONMENT, Project
from tests.support.workloads import wait

MODEL = "tiny-llama"
BAD_INPUT = 2


@pytest.fixture(autouse=True)
def no_key_stays(serving: str, project: Project) -> Iterator[None]:
    yield
    for line in project.run("keys", "list", "-e", ENVIRONMENT).succeeded().output.splitlines():
        if (name := line.split()[0]) != "slipway":
            project.run("keys", "revoke", name, "-e", ENVIRONMENT)


def add(project: Project, name: str, *words: str) -> str:
    """A new key; its value."""
    made = project.run("keys", "add", name, "-e", ENVIRONMENT, *words).succeeded()
    value = show(project, name)
    assert value not in made.output
    return value


def show(project: Project, name: str) -> str:
    return project.run("keys", "show", name, "-e", ENVIRONMENT).succeeded().output.strip()


def ask(project: Project, key: str | None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.get(f"{project.base_url()}/models", headers=headers, timeout=30)


def refused(answer: httpx.Response, status: int, code: str | None) -> None:
    """Refused in the shape of OpenAI's API."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


def test_a_rotation_under_load_refuses_no_request(project: Project) -> None:
    old = add(project, "team", "--models", MODEL)
    with calling(project.base_url(), old, MODEL) as callers:
        done = project.run("keys", "rotate", "team", "-e", ENVIRONMENT, "--overlap", "1h").succeeded()
        new = show(project, "team")
        with calling(project.base_url(), new, MODEL) as with_new:
            wait(lambda: len(with_new.answers) > 20)
    assert new != old
    assert new not in done.output
    assert not callers.failures + with_new.failures
    assert len(callers.answers) > 20
    listed = project.run("keys", "list", "-e", ENVIRONMENT).succeeded().output
    assert "opens tiny-llama; rotated; the old value opens until " in listed
    # the overlap is over at once: the new value alone is left
    project.run("keys", "rotate", "team", "-e", ENVIRONMENT, "--overlap", "0s").succeeded()
    refused(ask(project, new), 401, "invalid_api_key")
    assert ask(project, show(project, "team")).status_code == 200


def test_a_key_that_is_unknown_missing_or_revoked_is_refused_as_openai_does(project: Project) -> None:
    key = add(project, "gone")
    assert ask(project, key).status_code == 200
    project.run("keys", "revoke", "gone", "-e", ENVIRONMENT).succeeded()
    for given, code in ((key, "invalid_api_key"), ("sk-nobodys", "invalid_api_key"), (None, None)):
        refused(ask(project, given), 401, code)


def test_a_key_opens_the_models_of_its_scope_only(project: Project) -> None:
    key = add(project, "elsewhere", "--models", "huge-llama,tiny-llama-gated")
    refused(ask(project, key), 403, "model_not_found")
    address = project.base_url().removesuffix(f"/{MODEL}/v1")
    headers = {"Authorization": f"Bearer {key}"}
    by_name = httpx.post(f"{address}/v1/completions", json={"model": MODEL}, headers=headers, timeout=30)
    refused(by_name, 403, "model_not_found")
    assert httpx.get(f"{address}/v1/models", headers=headers, timeout=30).json()["data"] == []


def test_the_gateway_itself_refuses_a_key_whose_time_has_passed(project: Project) -> None:
    key = add(project, "short", "--expires", "20s")
    assert ask(project, key).status_code == 200
    wait(lambda: ask(project, key).status_code != 200)
    refused(ask(project, key), 401, "invalid_api_key")
    assert "EXPIRED" in project.run("keys", "list", "-e", ENVIRONMENT).succeeded().output
    before = clients(project)
    project.run("keys", "sync", "-e", ENVIRONMENT).succeeded()
    assert "short" in before
    assert "short" not in clients(project)


def clients(project: Project) -> set[str]:
    """The names whose hashes the gateway has."""
    secret = project.get("/api/v1/namespaces/llm/secrets/slipway-gateway-keys")
    return {one["name"] for one in json.loads(b64decode(secret["data"]["keys.json"])).values()}


def test_a_value_is_in_no_file_of_the_project_of_prefect_or_of_terraform(project: Project) -> None:
    value = add(project, "quiet").encode()
    prefect = [Path(project.environment["PREFECT_HOME"]), project.sandbox.root / "prefect"]
    files = [file for folder in (project.home, *prefect) for file in folder.rglob("*") if file.is_file()]
    assert any(file.name == "prefect.db" for file in files)
    assert [file for file in files if value in file.read_bytes()] == []
    s3 = project.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        for item in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", []):
            if item["Size"] < 1 << 20:
                body = s3.get_object(Bucket=bucket["Name"], Key=item["Key"])["Body"].read()
                assert value not in body, item["Key"]


def test_what_cannot_be_done_with_a_key_is_said_and_changes_nothing(project: Project) -> None:
    before = clients(project)
    on = ("-e", ENVIRONMENT)
    project.run("keys", "add", "slipway", *on).refused(BAD_INPUT, "slipway is Slipway's own key")
    project.run("keys", "add", "x", *on, "--models", "no-such").refused(
        BAD_INPUT, "there is no model 'no-such'"
    )
    project.run("keys", "add", "x", *on, "--expires", "soon").refused(
        BAD_INPUT, "--expires: 'soon' is not a duration"
    )
    project.run("keys", "revoke", "slipway", *on).refused(BAD_INPUT, "readiness gate and load validation")
    project.run("keys", "rotate", "nobody", *on).refused(BAD_INPUT, "there is no key 'nobody'")
    assert clients(project) == before
