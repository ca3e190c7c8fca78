"""Watch: take new commits of the hub through the environment's policy to a proof. Runs on a schedule."""

from __future__ import annotations

from prefect import get_run_logger
from pydantic import Field

from flows.run.choices import Choice, EnvironmentName, Measured, SomeModel, check_comes_in, read_models
from flows.run.following import follow
from flows.run.runbook import runbook
from tasks.records.catalogue import load_environment
from tasks.records.errors import InputError, NothingDeployed, SlipwayError
from tasks.records.progress import SHOWN
from tasks.records.watching import Watched


@runbook(name="slipway-watch", run_name="new commits for {environment}")
def watch(
    environment: EnvironmentName,
    model: SomeModel = None,
    again: bool = Field(False, description="judge also commits that were refused or not proven before"),
    measure_from: Measured = "cluster",
) -> dict[str, Watched]:
    """Take new commits of followed models to a proof.

    Followed is a model with `source.follow`, once a release of it serves. The newest commit is judged by the environment's
    policy, `watch`, and rolled out if that lets it in. Each commit is decided about once.
    """
    where = load_environment(environment)
    if where.protected:
        raise InputError(
            f"{environment} is protected: a commit comes in by promotion, which a person approves",
            next_command=f"slipway promote MODEL -e {environment}",
        )
    followed = [one for one in read_models(model) if one.source.follow]
    if model and not followed:
        raise InputError(
            f"{model} is not followed: its file has no source.follow",
            next_command=f"slipway deploy {model} -e {environment}",
        )
    found: dict[str, Watched] = {}
    failed: list[SlipwayError] = []
    for one in followed:
        choice = Choice(one, where)
        check_comes_in(choice)
        try:
            if watched := follow(choice, again, measure_from):
                found[one.name] = watched
        except NothingDeployed as nothing:
            get_run_logger().info("%s", nothing.cause, extra=SHOWN)
        except SlipwayError as error:
            get_run_logger().warning("%s: %s", one.name, error.cause, extra=SHOWN)
            failed.append(error)
    if failed:
        raise failed[0]
    return found
