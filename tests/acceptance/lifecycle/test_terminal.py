"""A deploy on a terminal, on one that is closed meanwhile, and in a pipe that nobody reads to its end."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support.commands import PATIENCE
from tests.support.project import ENVIRONMENT, SLIPWAY, Project
from tests.support.screens import TERMINAL, Screen, until

DEPLOY = ("deploy", "tiny-llama", "-e", ENVIRONMENT, "--yes", "--revalidate")

OnScreen = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def on_screen(project: Project, screen: Screen) -> Iterator[OnScreen]:
    """`slipway` with the screen as its controlling terminal."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            # a session without a terminal gets the first that it opens
            [*SLIPWAY[:2], f"import os; os.open(os.ttyname(1), os.O_RDWR); {SLIPWAY[2]}", *words],
            cwd=project.home,
            env={**project.environment, **TERMINAL},
            stdin=screen.theirs,
            stdout=screen.theirs,
            stderr=screen.theirs,
            start_new_session=True,
        )
        started.append(process)
        os.close(screen.theirs)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


# what the graph folds, and opens: flows/run/phases.py
PHASES = {"provision", "prove", "record"}


def hidden(project: Project) -> list[str]:
    """The tasks of the last run that the graph of Prefect's UI draws inside another one, but for a phase."""
    with httpx.Client(base_url=f"{project.environment['PREFECT_API_URL']}/", timeout=30) as api:
        asked = api.post("flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1})
        graph = api.get(f"flow_runs/{asked.raise_for_status().json()[0]['id']}/graph-v2")
    nodes = dict(graph.raise_for_status().json()["nodes"])
    assert {node["label"] for node in nodes.values()} >= PHASES
    return [
        node["label"]
        for node in nodes.values()
        if any(nodes[outer["id"]]["label"] not in PHASES for outer in node["encapsulating"])
    ]


@pytest.mark.usefixtures("serving")
def test_a_deploy_is_drawn_as_it_goes_and_ends_with_its_summary(
    on_screen: OnScreen, screen: Screen, project: Project
) -> None:
    process = on_screen(*DEPLOY)
    screen.until("waiting: ", PATIENCE)
    screen.until("✓ preflight tiny-llama on sandbox", PATIENCE)
    screen.until("load validation of tiny-llama", PATIENCE)
    screen.until("━", PATIENCE)
    assert process.wait(PATIENCE) == 0, screen.text
    screen.until("next: slipway endpoint tiny-llama -e sandbox")
    end = screen.text[screen.text.index("✓ sign the evidence of tiny-llama") :]
    assert re.search(r"critical path: .*load validation of tiny-llama \d", end)
    for shown in ("  load validation: PASS: ", "  cost  ", "  page  ", "  endpoint  ", "is proven"):
        assert shown in end
    assert "preflight: ok" not in screen.text
    assert "Traceback" not in screen.text
    assert hidden(project) == []


@pytest.mark.usefixtures("serving")
def test_a_run_goes_on_when_its_terminal_is_closed(
    on_screen: OnScreen, screen: Screen, project: Project
) -> None:
    before = project.serving()
    process = on_screen(*DEPLOY)
    screen.until("✓ roll out tiny-llama", PATIENCE)
    screen.hang_up()
    assert process.wait(PATIENCE) == 0
    assert project.serving().serving == before.serving
    assert project.serving().rolling is None


@pytest.mark.long
@pytest.mark.usefixtures("serving")
def test_a_run_goes_on_when_its_pipe_is_closed(project: Project) -> None:
    process = subprocess.Popen(
        [*SLIPWAY, *DEPLOY], cwd=project.home, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stderr
    assert "preflight" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE) == 0
    assert process.stderr.read() == ""


@pytest.mark.usefixtures("serving")
def test_a_watch_draws_again_and_ctrl_c_ends_it(on_screen: OnScreen, screen: Screen) -> None:
    process = on_screen("status", "-e", ENVIRONMENT, "--watch", "--every", "1")
    until(lambda: screen.text.count("Ctrl-C ends") >= 2, lambda: screen.text, PATIENCE)
    assert "tiny-llama" in screen.text
    screen.type("\x03")
    assert process.wait(60) == 0
    assert "Traceback" not in screen.text
    assert "error" not in screen.text
