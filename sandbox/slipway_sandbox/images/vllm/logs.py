"""Print log lines as vLLM does, `(APIServer pid=7) INFO 11-21 03:56:29 [core.py:384] message`, and as uvicorn does."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Final

API: Final = "APIServer"
CORE: Final = "EngineCore"
CORE_TRACEBACK: Final = Path(__file__).with_name("failed-core-0.32.0.txt")
CONNECTION_LOST: Final = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:29511"
)
ENGINE_DEAD: Final = (
    "EngineCore encountered an issue. See stack trace (above) for the root cause."  # v1/engine/exceptions.py
)
SERVER_TRACEBACK: Final = Path(__file__).with_name("failed-server-0.32.0.txt")


def line(level: str, where: str, message: str, process: str = API) -> None:
    """Print one record with the prefix on every line, as vLLM's NewLineFormatter does. `where` is `file.py:line`."""
    stamp = time.strftime("%m-%d %H:%M:%S")
    prefix = f"({process} pid={os.getpid()}) {level} {stamp} [{where}] "
    print("\n".join(prefix + part for part in message.split("\n")), flush=True)


def info(where: str, message: str, process: str = API) -> None:
    line("INFO", where, message, process)


def warning(where: str, message: str, process: str = API) -> None:
    line("WARNING", where, message, process)


def error(where: str, message: str, process: str = API) -> None:
    line("ERROR", where, message, process)


def uvicorn(message: str, level: str = "INFO") -> None:
    """Print a record as uvicorn does, the level padded to ten columns.

    There is no "Uvicorn running on": uvicorn omits it for the bound socket vLLM passes.
    """
    print(f"{level + ':':<10}{message}", file=sys.stderr, flush=True)


def failure(cause: BaseException) -> str:
    return "".join(traceback.format_exception(cause)).rstrip()


class RankFailed(RuntimeError):
    """One rank alone fails to start, with `cause`."""

    def __init__(self, rank: int, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.rank, self.cause = rank, cause


def engine_failed(cause: BaseException, ranks: int = 1) -> None:
    """Print what the processes of a real vLLM print when the engine core fails to start.

    With one rank the core itself fails; with more a worker does, and core and API server point to it. The tracebacks of
    both are a real start's (vLLM 0.32.0, its paths shortened): what is read of a log must reach over them.
    Where one rank alone fails, the others lose their connection to it.
    """
    text = failure(cause.cause if isinstance(cause, RankFailed) else cause)
    if ranks > 1:
        for rank in range(ranks):
            own = text
            if isinstance(cause, RankFailed) and rank != cause.rank:
                own = failure(RuntimeError(CONNECTION_LOST))
            error("multiproc_executor.py:953", "WorkerProc failed to start.\n" + own, f"Worker_TP{rank}")
        text = CORE_TRACEBACK.read_text("utf-8").rstrip()
    error("core.py:1510", "EngineCore failed to start.\n" + text, CORE)
    print("Process EngineCore:\n" + text, file=sys.stderr)
    print(SERVER_TRACEBACK.read_text("utf-8").rstrip(), file=sys.stderr)
    print(
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
        file=sys.stderr,
        flush=True,
    )


def rank_killed(rank: int) -> None:
    """Print what a real vLLM prints when a rank is ended by SIGKILL while it serves (`monitor_workers`, `run_engine_core`, `output_handler`)."""
    error(
        "multiproc_executor.py:321",
        f"Worker proc VllmWorker-{rank} died unexpectedly (exit code: -9), shutting down executor.",
        CORE,
    )
    fatal = 'Traceback (most recent call last):\n  File "vllm/v1/engine/core.py", line 1702, in _handle_client_request'
    error(
        "core.py:1512",
        f"EngineCore encountered a fatal error.\n{fatal}\nRuntimeError: Executor failed.",
        CORE,
    )
    dead = 'Traceback (most recent call last):\n  File "vllm/v1/engine/async_llm.py", line 868, in output_handler'
    error(
        "async_llm.py:906",
        f"AsyncLLM output_handler failed.\n{dead}\nvllm.v1.engine.exceptions.EngineDeadError: {ENGINE_DEAD}",
    )


def api_server_failed(cause: BaseException) -> None:
    for part in failure(cause).split("\n"):
        print(f"({API} pid={os.getpid()}) {part}", file=sys.stderr)
    sys.stderr.flush()
