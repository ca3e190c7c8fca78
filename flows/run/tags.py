"""Names and tags of flows and their runs in Prefect: ours alone, and to be filtered by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.records.names import RUN_COMMIT_TAG

OURS = "slipway"
# on the runs that roll out: where one is killed or cancelled, a rollback is started
ROLLS_OUT_TAG = "slipway:rolls-out"
ENVIRONMENT_TAG, MODEL_TAG, COMMIT_TAG = "environment:", "model:", RUN_COMMIT_TAG
# on a run of CI: the commit that the worker must have
WANTED_COMMIT_TAG = "wanted-commit:"
# the label in which a run leaves the exit code of its error
EXIT_LABEL = "slipway.exit-code"
# a sweep does with --apply
ROLLS_OUT = ("deploy", "promote", "sweep")


def flow_name(flow: str) -> str:
    """A flow's name in Prefect, where other teams have flows too. `flow`: its module in flows/."""
    return f"slipway-{flow.replace('_', '-')}"


def tags_of(flow: str, given: Mapping[str, Any]) -> list[str]:
    """The tags of a flow's run with these parameters; `flow`: its module, or its name in Prefect."""
    tags = [OURS]
    if environment := given.get("environment"):
        tags.append(f"{ENVIRONMENT_TAG}{environment}")
    if flow.removeprefix("slipway-") in ROLLS_OUT:
        tags.append(ROLLS_OUT_TAG)
    if model := given.get("model"):
        tags.append(f"{MODEL_TAG}{model}")
    return tags
