"""Render prefect.yaml: each flow as a deployment of each environment, with pool, tags, schedules and triggers. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from flows.run.tags import ENVIRONMENT_TAG, OURS, ROLLS_OUT_TAG, tags_of
from tasks.records.environment import Environment
from tasks.records.model import Model

# automations.yaml takes a run for dead after three of them
HEARTBEAT_SECONDS = 30
PREFECT_VERSION = "3.8.8"
HEADER = """\
# Rendered from models/ and environments/: `slipway prefect render > prefect.yaml`. Edit flows/deployments.py instead.
# `slipway prefect apply` registers the same, with forms that know the names; then `prefect worker start --pool slipway-ENVIRONMENT`.
"""

Document = dict[str, Any]


def _never(environment: Environment, models: Sequence[Model]) -> list[Document]:
    return []


def _at(slug: str, cron: str) -> Callable[[Environment, Sequence[Model]], list[Document]]:
    return lambda environment, models: [{"slug": slug, "cron": cron, "timezone": "UTC", "active": True}]


def _wakes(environment: Environment, models: Sequence[Model]) -> list[Document]:
    """One for each time that models name, however many name it."""
    times = {(model.scaling.wake.timezone, model.scaling.wake.cron) for model in models if model.scaling.wake}
    return [
        {"slug": _slug(cron, timezone), "cron": cron, "timezone": timezone, "active": True}
        for timezone, cron in sorted(times)
    ]


def _drills(environment: Environment, models: Sequence[Model]) -> list[Document]:
    """One, but where a drill would be refused, or is by hand alone."""
    drills = environment.drills
    if not drills.cron or (environment.protected and not drills.in_protected):
        return []
    return [{"slug": "drill", "cron": drills.cron, "timezone": drills.timezone, "active": True}]


def _watches(environment: Environment, models: Sequence[Model]) -> list[Document]:
    """One where the environment's file says when, and a model is followed."""
    watch = environment.watch
    if not watch.cron or not any(model.source.follow for model in models):
        return []
    return [{"slug": "watch", "cron": watch.cron, "timezone": watch.timezone, "active": True}]


def _slug(cron: str, timezone: str) -> str:
    """Unique to a time: of its signs a slug takes none but digits and letters."""
    return f"wake-{hashlib.sha256(f'{cron} {timezone}'.encode()).hexdigest()[:8]}"


def _undo(environment: Environment) -> list[Document]:
    """Start a rollback where a deploy or promotion was killed or cancelled, which put nothing back itself.

    It acts only where the ledger says that a rollout is unfinished: whoever comes first undoes it.
    """
    return [
        {
            "name": f"undo-a-stopped-rollout-{environment.name}",
            "type": "event",
            "enabled": True,
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": [
                {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{tag}"}
                for tag in (OURS, ROLLS_OUT_TAG, ENVIRONMENT_TAG + environment.name)
            ],
            "expect": ["prefect.flow-run.Crashed", "prefect.flow-run.Cancelled"],
            "parameters": {
                "model": {"__prefect_kind": "jinja", "template": "{{ flow_run.parameters['model'] }}"},
                "unfinished": True,
            },
        }
    ]


@dataclass(frozen=True)
class Startable:
    """A flow of flows/{flow}.py that is registered, and for which environments."""

    flow: str
    where: Callable[[Environment], bool] = lambda environment: True
    schedules: Callable[[Environment, Sequence[Model]], list[Document]] = _never
    triggers: Callable[[Environment], list[Document]] = lambda environment: []


STARTABLE = (
    Startable("deploy", where=lambda environment: not environment.promote_from),
    Startable(
        "watch",
        where=lambda environment: not (environment.promote_from or environment.protected),
        schedules=_watches,
    ),
    Startable("promote", where=lambda environment: bool(environment.promote_from)),
    Startable("rollback", triggers=_undo),
    # an event that should start the rollback can be lost; this one reads the ledger
    Startable("recover", schedules=_at("every-five-minutes", "*/5 * * * *")),
    Startable("sweep"),
    Startable("scale_down"),
    Startable("idle", schedules=_at("every-ten-minutes", "*/10 * * * *")),
    Startable("wake"),
    Startable("wake_due", schedules=_wakes),
    Startable("teardown"),
    Startable("drift", schedules=_at("nightly", "0 5 * * *")),
    Startable("preflight"),
    Startable("stage", where=lambda environment: not environment.promote_from),
    Startable("validate", schedules=_at("nightly", "0 2 * * *")),
    Startable("drill", schedules=_drills),
    Startable("status"),
    Startable("keys_add"),
    Startable("keys_rotate"),
    Startable("keys_revoke"),
    # NGINX refuses a key that has expired by itself; this takes it out of the cluster, too
    Startable("keys_sync", schedules=_at("daily", "0 4 * * *")),
)


def render(environments: Sequence[Environment], models: Sequence[Model]) -> Document:
    """The whole of prefect.yaml."""
    return {
        "name": "slipway",
        "prefect-version": PREFECT_VERSION,
        "pull": [
            {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $SLIPWAY_HOME }}"}},
        ],
        "deployments": [
            deployment(startable, environment, models)
            for environment in environments
            for startable in STARTABLE
            if startable.where(environment)
        ],
    }


def deployment(startable: Startable, environment: Environment, models: Sequence[Model]) -> Document:
    """One entry of `deployments`."""
    found: Document = {
        "name": environment.name,
        "entrypoint": f"flows/{startable.flow}.py:{startable.flow}",
        "tags": tags_of(startable.flow, {"environment": environment.name}),
        "work_pool": {
            "name": pool_of(environment.name),
            "job_variables": {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)}},
        },
        "parameters": {"environment": environment.name},
    }
    if schedules := startable.schedules(environment, models):
        found["schedules"] = schedules
        # of the runs that are late one is made up for; a flow that changes a cluster has its turn as well
        # (flows/run/turn.py), which outlives the server
        found["concurrency_limit"] = {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    if triggers := startable.triggers(environment):
        found["triggers"] = triggers
    return found


def pool_of(environment: str) -> str:
    """The work pool of an environment: its worker alone needs that environment's credentials."""
    return f"slipway-{environment}"


def as_yaml(document: Mapping[str, Any]) -> str:
    """The file as it stands in the repository."""
    return HEADER + yaml.dump(dict(document), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


class _Plain(yaml.SafeDumper):
    """Writes nothing by reference, and the items of a list below its key."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)
