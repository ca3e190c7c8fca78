"""Ask a model's endpoint through the gateway, from a Job in the cluster or from this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tasks.cloud import inside, load_balancer, objects
from tasks.cloud.jobs import RunningJob, running
from tasks.records.errors import Interrupted, RolloutFailed, SlipwayError
from tasks.records.names import GATEWAY, OWN_KEY_SECRET
from tasks.records.questions import GENERATING, Route
from tasks.records.results import Endpoint
from tasks.rollout import downtime, network
from tasks.rollout.context import RolloutContext
from tasks.rollout.endpoint_check import (
    ABILITY_SECONDS,
    GatewayCutOff,
    GatewayUnreached,
    Proving,
    check_endpoint,
    read_answer,
)


class Watch(Protocol):
    """A downtime poll that runs."""

    def stop(self) -> float | None:
        """End it; seconds without an answer, None where they are not known."""


def ask_endpoint(
    context: RolloutContext, endpoint: Endpoint, workload: str, proving: Proving | None = None
) -> str:
    """What the model answers through the gateway, in a few words. Raises RolloutFailed with what shuts the way, where policies do."""
    try:
        if context.measure_from == "here":
            key = objects.read_key(context.cluster, context.namespace, OWN_KEY_SECRET)
            patience = context.environment.deadlines.gateway
            return check_endpoint(
                endpoint.base_url,
                key,
                endpoint.served_name,
                route=endpoint.route,
                proving=proving,
                patience=patience,
                way=load_balancer.way_to(context.environment, endpoint.connect_to),
                time=context.time,
            )
        return _ask_inside(context, endpoint, proving or Proving())
    except GatewayCutOff as cut_off:
        raise network.explain(context.cluster, context.namespace, workload, cut_off) from cut_off
    except GatewayUnreached as unreached:
        raise network.explain_unreached(
            context.cluster, context.environment, context.measure_from, unreached
        ) from unreached


def _ask_inside(context: RolloutContext, endpoint: Endpoint, proving: Proving) -> str:
    environment, model = context.environment, endpoint.served_name
    patience = environment.deadlines.gateway
    program = inside.Program.told(
        f"gate-{model}",
        "tasks.rollout.endpoint_check",
        **inside.asked_at(context.cluster, environment, model),
        served_name=model,
        route=endpoint.route,
        abilities=dict(proving.abilities),
        adapters=list(proving.adapters),
        max_model_len=proving.max_model_len,
        patience=patience,
    )
    with running(
        context.cluster,
        environment,
        model,
        program,
        # a question that was sent as patience ended may still be answered
        seconds=patience + 120.0 + (len(proving.abilities) + len(proving.adapters)) * ABILITY_SECONDS,
        failed=RolloutFailed,
        say=context.reporter.say,
        time=context.time,
    ) as job:
        lines = job.wait()
    try:
        return read_answer(lines[-1])
    except (IndexError, ValueError, KeyError):
        raise RolloutFailed(
            "the gate's job ended without an answer",
            evidence=lines[-10:],
            next_command="run the same command again, or with --measure-from here",
        ) from None


def polled_route(endpoint: Endpoint) -> Route:
    """The cheapest route that the model has for certain."""
    return "completions" if endpoint.route in GENERATING else endpoint.route


@contextmanager
def watching(context: RolloutContext, endpoint: Endpoint | None, key: str, seconds: float) -> Iterator[Watch]:
    """Poll for downtime during the block, `seconds` at most; nothing where no release served before.

    That it cannot be polled is reported and ends nothing: it is a figure, not a condition.
    """
    gateway = context.cluster.get("v1", "Service", GATEWAY, context.namespace) if endpoint else None
    if endpoint is None or gateway is None:
        yield _Nothing()
        return
    if context.measure_from == "here":
        way = load_balancer.way_to(context.environment, endpoint.connect_to)
        poll = downtime.Poll(endpoint.base_url, key, endpoint.served_name, polled_route(endpoint), way)
        try:
            yield poll
        finally:
            poll.stop()
        return
    with _watching_inside(context, endpoint, seconds) as watch:
        yield watch


@contextmanager
def _watching_inside(context: RolloutContext, endpoint: Endpoint, seconds: float) -> Iterator[Watch]:
    environment, model = context.environment, endpoint.served_name
    program = inside.Program.told(
        f"downtime-{model}",
        "tasks.rollout.downtime",
        **inside.asked_at(context.cluster, environment, model),
        served_name=model,
        route=polled_route(endpoint),
    )
    with running(
        context.cluster,
        environment,
        model,
        program,
        seconds=seconds,
        failed=RolloutFailed,
        say=context.reporter.say,
        time=context.time,
    ) as job:
        watch = _InsideWatch(context, job)
        # before anything moves it must have asked once
        watch.read()
        yield watch


class _Nothing:
    def stop(self) -> float | None:
        return None


class _InsideWatch:
    """A poll in a Job. It is ended with its Job."""

    def __init__(self, context: RolloutContext, job: RunningJob) -> None:
        self._context, self._job = context, job
        self._lost = False

    def read(self) -> float | None:
        """The figure of a poll that ended after this call; None where it is not known."""
        if self._lost:
            return None
        try:
            return downtime.read_seconds(self._job.wait_for_line())
        except Interrupted:
            raise
        except SlipwayError as error:
            self._lost = True
            self._context.reporter.say(f"downtime is not measured: {error.cause}")
            return None

    def stop(self) -> float | None:
        return self.read()
