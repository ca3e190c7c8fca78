"""A console whose reader is gone."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import TextIO

import pytest
from prefect.logging.handlers import PrefectConsoleHandler

from flows.run.console import outlive_the_worker


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A pipe to write to that nobody reads any more: what a killed worker leaves its runs."""
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w", buffering=1)
    os.close(reader)
    yield stream
    # what it holds cannot be flushed
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_run_logs_on_after_its_worker_is_gone(unread: TextIO) -> None:
    logger = logging.getLogger("slipway.of-this-test")
    handler = PrefectConsoleHandler(unread)
    logger.addHandler(handler)
    try:
        outlive_the_worker()
        # rich's own answer is SystemExit
        logger.warning("broken")
        logger.warning("silent")
    finally:
        logger.removeHandler(handler)
