"""A sandbox whose pods run a real vLLM on this machine's CPU: `make real-engine` installs it and sets SLIPWAY_REAL_ENGINE."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from slipway_sandbox.testing import Sandbox, make_models, start

from tests.support.builders import ROOT
from tests.support.collector import Collector, collecting
from tests.support.project import ENVIRONMENT, Project, copy_project, edit

# two cores are no GPU: a start takes 54 to 100 s on a quiet machine, and a token tens of milliseconds
TEST_SECONDS = 3600
COMMAND_SECONDS = 1200.0
SLOW = "60s"
# a start on a busy machine took ten minutes, of which reading 23 MiB is nothing: its budget is a time for all of it
DEADLINES = {"pod_start": "900s", "cold_read_mib_s": 0.02}
MISFIT = "slipway/misfit-llama"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(str(item.fspath)).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    speeds = {"engine_program": os.environ["SLIPWAY_REAL_ENGINE"]}
    misfit = misfit_llama(tmp_path_factory.mktemp("models"))
    with start(tmp_path_factory.mktemp("sandbox"), speeds=speeds, models={MISFIT: misfit}) as running:
        yield running


def misfit_llama(folder: Path) -> Path:
    """tiny-llama with a config that says its layers are wider than its tensors are."""
    made = make_models(folder / "made") / "tiny-llama" / "main"
    shutil.copytree(made, folder / "misfit")
    config = folder / "misfit" / "config.json"
    document = json.loads(config.read_text())
    document["intermediate_size"] += 128
    config.unlink()  # a hard link to what another revision has too
    config.write_text(json.dumps(document))
    return folder / "misfit"


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="session")
def project(sandbox: Sandbox, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    home = folder / "project"
    copy_project(home)
    tiny = home / "models" / "tiny-llama.yaml"
    edit(
        tiny,
        {
            "load": {"rate": 2, "window": "10s", "drain": "120s"},
            "objectives": {
                "ttft": {"p95": SLOW},
                "tpot": {"p95": SLOW},
                "e2e": {"p95": SLOW},
                "each": {"ttft": SLOW, "tpot": SLOW},
            },
            "scaling": {"idle_after": "5s"},
        },
    )
    # pods of the sandbox are processes of this machine: its loopback is theirs
    tracing = {
        "endpoint": collector.endpoint,
        "protocol": "http/protobuf",
        "namespace": "observability",
        "pod_labels": {"app": "collector"},
    }
    edit(home / "environments" / f"{ENVIRONMENT}.yaml", {"deadlines": DEADLINES, "tracing": tracing})
    text = tiny.read_text()
    misfit = text.replace("name: tiny-llama\n", "name: misfit-llama\n").replace("slipway/tiny-llama", MISFIT)
    (home / "models" / "misfit-llama.yaml").write_text(misfit)
    variables = sandbox.variables(
        SLIPWAY_HOME=str(home),
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "sandbox")]),
        PREFECT_HOME=str(folder / "prefect"),
        PYTHONUNBUFFERED="1",
    )
    return Project(sandbox, home, variables, COMMAND_SECONDS)
