"""Keep tracebacks of expected errors out of a run's log: such an error has its cause, evidence and next command."""

from __future__ import annotations

import logging

from tasks.records.errors import SlipwayError

# of prefect 3.8.8, logging/loggers.py: every task run's logger, whatever its handlers
TASK_RUNS = "prefect.task_runs"


def without_traceback(record: logging.LogRecord) -> bool:
    """Drop the traceback of a SlipwayError, and the empty one of a task that returned a failed state. A logging filter."""
    if record.exc_info and (record.exc_info[1] is None or isinstance(record.exc_info[1], SlipwayError)):
        record.exc_info = None
    return True


def leave_out_expected() -> None:
    """Let Prefect tell an expected error of a task in one line. Adding a filter twice adds it once."""
    logging.getLogger(TASK_RUNS).addFilter(without_traceback)
