"""Print log lines as vLLM does, `(APIServer pid=7) INFO 11-21 03:56:29 [core.py:384] message`, and as uvicorn does."""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import Final

API: Final = "APIServer"
CORE: Final = "EngineCore"


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


def engine_failed(cause: BaseException) -> None:
    """Print what both processes of a real vLLM print when the engine core fails to start."""
    text = failure(cause)
    error("core.py:1510", "EngineCore failed to start.\n" + text, CORE)
    for part in ("Process EngineCore:\n" + text).split("\n"):
        print(f"({CORE} pid={os.getpid()}) {part}", file=sys.stderr)
    final = RuntimeError(
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
    )
    api_server_failed(final)


def api_server_failed(cause: BaseException) -> None:
    for part in failure(cause).split("\n"):
        print(f"({API} pid={os.getpid()}) {part}", file=sys.stderr)
    sys.stderr.flush()
