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


def engine_failed(cause: BaseException, ranks: int = 1) -> None:
    """Print what the processes of a real vLLM print when the engine core fails to start.

    With one rank the core itself fails; with more a worker does, and core and API server point to it. The tracebacks of
    both are a real start's (vLLM 0.32.0, its paths shortened): what is read of a log must reach over them.
    """
    text = failure(cause)
    if ranks > 1:
        for rank in range(ranks):
            error("multiproc_executor.py:953", "WorkerProc failed to start.\n" + text, f"Worker_TP{rank}")
        text = CORE_TRACEBACK.read_text("utf-8").rstrip()
    error("core.py:1510", "EngineCore failed to start.\n" + text, CORE)
    print("Process EngineCore:\n" + text, file=sys.stderr)
    print(SERVER_TRACEBACK.read_text("utf-8").rstrip(), file=sys.stderr)
    print(
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
        file=sys.stderr,
        flush=True,
    )


def api_server_failed(cause: BaseException) -> None:
    for part in failure(cause).split("\n"):
        print(f"({API} pid={os.getpid()}) {part}", file=sys.stderr)
    sys.stderr.flush()
