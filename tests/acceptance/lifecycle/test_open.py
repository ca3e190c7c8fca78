"""`slipway open`: a chat with a model over a page on loopback, and Prefect's UI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.chromium import opened
from tests.support.commands import Command
from tests.support.project import ENVIRONMENT, Project
from tests.support.workloads import wait

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("serving")]
ADDRESS = r"http://127\.0\.0\.1:\d+/[\w-]{32}/"


@pytest.fixture
def key(project: Project, serving: str) -> str:
    with project.asking() as asking:
        return str(asking.headers["Authorization"].removeprefix("Bearer "))


@pytest.fixture
def served(project: Project, serving: str) -> Iterator[Command]:
    """The chat page, served."""
    command = project.start("open", "chat", "tiny-llama", "-e", ENVIRONMENT)
    try:
        command.wait_for(ADDRESS)
        yield command
    finally:
        if command.process.poll() is None:
            command.kill()


def address_of(served: Command) -> str:
    found = re.search(ADDRESS, served.output)
    assert found
    return found[0]


def test_a_chat_streams_and_the_key_stays_with_the_proxy(served: Command, key: str) -> None:
    with httpx.Client(base_url=address_of(served), timeout=60, trust_env=False) as browser:
        page = browser.get("").raise_for_status().text
        body = {"messages": [{"role": "user", "content": "Hello"}]}
        with browser.stream("POST", "chat", json=body) as answer:
            assert answer.status_code == 200
            lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 3
    assert key not in page + "".join(lines) + served.output
    done = served.interrupt()
    assert done.code == 0
    assert "Traceback" not in done.output


def test_a_person_chats_in_a_browser(served: Command, key: str, tmp_path: Path) -> None:
    with opened(address_of(served), tmp_path) as page:
        wait(lambda: page.run("document.querySelector('#model')?.textContent") == "tiny-llama in sandbox")
        page.run("document.querySelector('form').text.value = 'Hello'")
        page.run("document.querySelector('form').requestSubmit()")
        wait(lambda: bool(page.run("document.querySelector('.assistant')?.textContent")))
        wait(lambda: page.run("document.querySelector('form button').disabled") is False)
        assert page.run("document.querySelectorAll('.error').length") == 0
        assert page.run(f"document.documentElement.outerHTML.includes({key!r})") is False


def test_the_address_of_prefects_ui_is_the_servers(project: Project) -> None:
    said = project.run("open", "prefect").succeeded().output.strip()
    api = project.environment["PREFECT_API_URL"]
    assert said == api.removesuffix("/api")
