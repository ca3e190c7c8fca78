"""Unit tests start no process: whoever tries is told where such a test belongs."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object, command: Any, *__: Any, **___: Any) -> None:
        raise AssertionError(f"a unit test starts {command!r}: it belongs into tests/acceptance")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
