"""What LiteLLM adds to a request beside NGINX: the gateway's real configurations of both in front of an answer that takes no time.

    python -m bench.backends PYTHON     # of an environment that has LiteLLM: `make litellm`

Both are asked in turn over connections that are kept open, in rounds: what else the machine does falls on both. Ratios count, not
milliseconds.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tasks.records.catalogue import load_environment, load_model, project_root
from tasks.rollout.gateway import documents, routes
from tests.support.loopback import free_port
from tests.support.nginx import MODEL, an_entry, lay_out, running

KEY = "sk-bench"
TOKENS = 200
ROUNDS, EACH = 9, 15
STARTS_WITHIN = 300.0  # seconds
USAGE = {"prompt_tokens": 3, "completion_tokens": TOKENS, "total_tokens": TOKENS + 3}
HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL}


def whole() -> str:
    choice = {"index": 0, "text": "x" * 4 * TOKENS, "logprobs": None, "finish_reason": "length"}
    return json.dumps({**HEAD, "choices": [choice], "usage": USAGE})


def streamed() -> str:
    events = [
        {"index": 0, "text": "word", "logprobs": None, "finish_reason": "length" if last else None}
        for last in [False] * (TOKENS - 1) + [True]
    ]
    return (
        "".join(f"data: {json.dumps({**HEAD, 'choices': [one]})}\n\n" for one in events) + "data: [DONE]\n\n"
    )


def answer_with(folder: Path, port: int, text: str, kind: str) -> None:
    """Have the NGINX of `lay_out` be vLLM too: a file for every request."""
    (folder / "answer").write_text(text)
    found = f'root {folder}; default_type "{kind}"; error_page 405 =200 $uri; try_files /answer =404;'
    server = f"server {{ listen 127.0.0.1:{port}; access_log off; location / {{ {found} }} }}"
    (folder / "models" / "answer.upstream").write_text(server)


@contextmanager
def litellm(python: str, folder: Path, port: int, upstream: int) -> Iterator[None]:
    """LiteLLM by k8s/gateway/litellm, from the moment it answers until the block ends."""
    root = project_root()
    environment, model = load_environment("sandbox", root), load_model(MODEL, root)
    gateway = environment.gateway.model_copy(update={"backend": "litellm"})
    environment = environment.model_copy(update={"gateway": gateway})
    found = {d["kind"]: d for d in documents(root, environment, routes(root, model, environment))}
    for name, text in found["ConfigMap"]["data"].items():
        (folder / name).write_text(re.sub(r"http://vllm-[^/]+/", f"http://127.0.0.1:{upstream}/", text))
    (folder / "keys.json").write_text(
        json.dumps({hashlib.sha256(KEY.encode()).hexdigest(): an_entry("bench")})
    )
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one.get("value", "sk-9b1f4c7e2a6d8350") for one in container["env"]}
    given |= {"CONFIG_FILE_PATH": str(folder / "config.yaml"), "PYTHONPATH": str(folder)}
    given |= {"SLIPWAY_KEYS": str(folder / "keys.json"), "LISTEN": "127.0.0.1", "HOME": str(folder)}
    moved = {"0.0.0.0": "127.0.0.1", "8080": str(port)}  # noqa: S104 what is replaced
    words = [moved.get(word, word) for word in container["command"][1:]]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([python, *words], env={**os.environ, **given}, stdout=log, stderr=log)
    try:
        await_answer(process, port, folder / "log")
        yield
    finally:
        process.terminate()
        process.wait(30)


def await_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < STARTS_WITHIN:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            used = Path(f"/proc/{process.pid}/status").read_text()
            resident = re.search(r"VmRSS:\s+(\d+)", used)
            print(f"LiteLLM answers after {time.monotonic() - began:.0f} s", end=", ")
            print(f"with {int(resident[1]) // 1024 if resident else 0} MiB")
            return
    raise SystemExit(f"LiteLLM does not answer: {log.read_text()[-2000:]}")


def ask(connection: http.client.HTTPConnection, stream: bool) -> float:
    """Seconds of one request. Raises SystemExit for any answer but 200."""
    body = json.dumps({"model": MODEL, "prompt": "x" * 1000, "stream": stream})
    began = time.perf_counter()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection.request("POST", f"/{MODEL}/v1/completions", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200 or (stream and b"[DONE]" not in text):
        raise SystemExit(f"{answer.status} {text[-300:]!r}")
    return time.perf_counter() - began


def measure(ports: dict[str, int], label: str, *, stream: bool) -> None:
    """Print each side's median of the rounds' medians with its spread, and the ratio's."""
    connections = {
        name: http.client.HTTPConnection("127.0.0.1", port, timeout=60) for name, port in ports.items()
    }
    rounds: dict[str, list[float]] = {name: [] for name in ports}
    for number in range(ROUNDS + 1):
        for name, connection in connections.items():
            middle = statistics.median(ask(connection, stream) for _ in range(EACH)) * 1000
            if number:  # the first warms up
                rounds[name].append(middle)
    ratios = [litellm / nginx for litellm, nginx in zip(rounds["litellm"], rounds["nginx"], strict=True)]
    sides = "  ".join(f"{name} {spread(values)} ms" for name, values in rounds.items())
    print(f"{label:<28}{sides}  ratio {spread(ratios)}")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main(python: str) -> None:
    for label, answer, kind in (
        ("an answer in one piece", whole(), "application/json"),
        (f"a stream of {TOKENS} tokens", streamed(), "text/event-stream"),
    ):
        nginx, other, upstream = free_port(), free_port(), free_port()
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            configuration = lay_out(Path(one), nginx, upstream, {KEY: an_entry("bench")})
            answer_with(Path(one), upstream, answer, kind)
            with running(Path(one), configuration, nginx), litellm(python, Path(two), other, upstream):
                ports = {"nginx": nginx, "litellm": other}
                measure(ports, label, stream=kind == "text/event-stream")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"CPU of what was started: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1])
