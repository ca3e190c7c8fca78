"""What of a failed task stands in the run's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.logging.loggers import task_run_logger

from flows.run.tracebacks import TASK_RUNS, leave_out_expected, without_traceback
from tasks.records.errors import InputError

LOGGER = logging.getLogger(TASK_RUNS)


@pytest.fixture
def log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.LogCaptureFixture]:
    # instead of Prefect's own, which want a run
    monkeypatch.setattr(LOGGER, "handlers", [caplog.handler])
    leave_out_expected()
    yield caplog
    LOGGER.removeFilter(without_traceback)


def fail(error: Exception | None) -> None:
    """As Prefect's engine logs a task that failed."""
    try:
        if error:
            raise error
    except Exception as raised:
        LOGGER.error("Task run failed with exception: %r", raised, exc_info=True)
    else:
        LOGGER.error("Task run failed with state: Failed", exc_info=True)


def test_a_mistake_of_the_user_is_one_line(log: pytest.LogCaptureFixture) -> None:
    fail(InputError("no such file: prompts.jsonl"))
    assert log.records[-1].getMessage().endswith("InputError('no such file: prompts.jsonl')")
    assert "Traceback" not in log.text


def test_a_bug_keeps_its_traceback(log: pytest.LogCaptureFixture) -> None:
    fail(KeyError("weights"))
    assert "Traceback" in log.text


def test_a_phase_that_failed_has_no_empty_traceback(log: pytest.LogCaptureFixture) -> None:
    fail(None)
    assert "NoneType" not in log.text


def test_prefect_logs_tasks_by_the_logger_that_is_filtered() -> None:
    run = TaskRun(task_key="k", dynamic_key="0", flow_run_id=uuid4())
    assert task_run_logger(run).logger is LOGGER
