"""Start vLLM servers quickly: this process has imported vLLM, and each server is forked from it. Run by vLLM's own Python.

    VLLM_PYTHON launcher.py

A line of standard input is a JSON object {"words": [… of `vllm`], "log": FILE}; the answer is a line with the server's process id, which
leads a session of its own. Ends, with its servers, when its input does.
"""

import contextlib
import importlib
import json
import os
import signal
import sys

# what every server of one process imports
PRELOADED = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.model_executor.models.llama",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
)


def serve(words: list[str], log: str) -> None:
    """Become one server. Does not return."""
    os.setsid()
    out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    sys.stdin.close()
    sys.argv = ["vllm", *words]
    try:
        importlib.import_module("vllm.entrypoints.cli.main").main()
    finally:
        sys.stdout.flush()
        os._exit(1)


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(name)
    print("ready", flush=True)
    servers = []
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if not pid:
            serve(asked["words"], asked["log"])
        servers.append(pid)
        print(pid, flush=True)
    for pid in servers:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
