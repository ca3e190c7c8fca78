"""A real vLLM on this machine's CPU against the transcripts that the stand-in follows: `make real-engine`, not `make test`.

It is started as a sandbox's pod would start it, so what makes it run there is tried as well.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import httpx
import pytest

from slipway_sandbox.loopback import free_port
from slipway_sandbox.testing import make_models
from tests.images.conftest import Launch, Pod
from tests.images.golden_files import compare, golden_metrics, normalised, read, shape_of_metrics
from tests.images.test_vllm_wire import CURLED

START_SECONDS: Final = 900.0  # 54 to 100 s on a quiet machine
ANSWER_SECONDS: Final = 120.0

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(1200)]


@pytest.fixture(scope="session")
def program() -> str:
    return os.environ["SLIPWAY_REAL_ENGINE"]


@pytest.fixture(scope="module")
def complete_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub's tiny-llama: an engine that computes wants every weight."""
    return make_models(tmp_path_factory.mktemp("hub")) / "tiny-llama" / "main"


@pytest.fixture(scope="module")
def real(launch_session: Launch, complete_llama: Path, program: str) -> Pod:
    """A vLLM as the transcripts had it: `tiny`, 512 tokens of context."""
    port = free_port()
    words = ["serve", str(complete_llama), "--served-model-name", "tiny", "--port", str(port)]
    return launch_session(
        "slipway_sandbox.images.vllm",
        [*words, "--max-model-len", "512", "--gpu-memory-utilization", "0.5"],
        port=port,
        env={"HOSTNAME": "vllm-0"},
        program=program,
    ).until_ready(seconds=START_SECONDS)


def test_the_metrics_page_has_the_lines_of_the_transcript(real: Pod) -> None:
    """The first test here: a page that has seen other requests has more lines."""
    httpx.get(real.url + "/v1/models", trust_env=False)
    page = httpx.get(real.url + "/metrics", trust_env=False, timeout=ANSWER_SECONDS)
    assert shape_of_metrics(page.text) == golden_metrics()


@pytest.mark.parametrize("name", CURLED)
def test_an_answer_is_the_transcripts(real: Pod, name: str) -> None:
    golden = read(name)
    answer = httpx.request(
        golden.method,
        real.url + golden.path,
        content=golden.body,
        headers=golden.headers,
        trust_env=False,
        timeout=ANSWER_SECONDS,
    )
    compare(answer, golden)


@pytest.mark.parametrize(("name", "stream"), [("err_long", False), ("err_long_stream", True)])
def test_a_prompt_of_too_many_characters_is_refused(real: Pod, name: str, stream: bool) -> None:
    body = {"model": "tiny", "prompt": "hello world " * 700, "stream": stream}
    answer = httpx.post(real.url + "/v1/completions", json=body, trust_env=False, timeout=ANSWER_SECONDS)
    assert answer.status_code == 400
    assert normalised(answer.text) == normalised(read(name).answer)
