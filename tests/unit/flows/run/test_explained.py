from __future__ import annotations

import httpx
import pytest

from flows.run.explained import explained
from tasks.records.errors import InputError


@pytest.mark.parametrize(
    ("error", "code", "cause"),
    [
        (InputError("no such model", evidence=["a"], next_command="ls models/"), 2, "no such model"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (httpx.ConnectError("refused"), 1, "Prefect's server does not answer: http://nowhere/api"),
        (
            RuntimeError("Failed to reach API at http://nowhere/api/"),
            1,
            "Prefect's server does not answer: http://nowhere/api",
        ),
    ],
)
def test_a_command_ends_with_cause_and_code(
    error: BaseException,
    code: int,
    cause: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://nowhere/api")
    with pytest.raises(SystemExit) as ended, explained():
        raise error
    assert ended.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {cause}\n")
    assert "next: " in printed


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), explained():
        raise ZeroDivisionError
