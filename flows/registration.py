"""Put what this project declares into a Prefect server: work pools, deployments, automations.yaml."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import WorkPool as PrefectWorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import DeploymentEventTrigger
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.utilities.templating import apply_values
from pydantic import SecretStr, ValidationError

from flows import job_template
from flows.deployments import pool_of, render
from flows.form import form
from flows.run.tags import ENVIRONMENT_TAG, OURS
from tasks.records.catalogue import load_environment, load_model, names, read_yaml
from tasks.records.environment import Environment
from tasks.records.errors import InputError, InvalidDocument
from tasks.records.model import Model
from tasks.records.names import WEBHOOK_BLOCK
from tasks.records.work_pool import WorkPool

# SLIPWAY_HOME of the Dockerfile
IMAGE_HOME = "/slipway"
AUTOMATIONS_FILE = "automations.yaml"
# of the automations that `apply` made, and removes once their file does not name them any more
AUTOMATIONS = "slipway-automations"
# what a server gives of a list at most, unless it is set up to give more
PAGE = 200


def apply(project: Path, webhook: str | None = None, environments: Sequence[str] = ()) -> list[str]:
    """Register everything, change what is there already, remove what the files no longer name; a line for each.

    Raises UnknownName, InvalidDocument, InputError where the project lacks a file that comes with Slipway.
    """
    chosen = chosen_environments(project, environments)
    models = [load_model(name, project) for name in names("models", project)]
    declared = declared_automations(project)
    document = render(chosen, models)
    pools = {pool_of(one.name): one.work_pool for one in chosen}
    template = part_of(project, job_template.FILE).read_text("utf-8")
    if webhook:
        Webhook(url=SecretStr(webhook)).save(WEBHOOK_BLOCK, overwrite=True)
    with get_client(sync_client=True) as client:
        wanted, left_out = automations(declared, _block(client))
        return [
            *_pools(client, pools, template),
            *_deployments(client, document, pools, project, models),
            *_converge(client, wanted),
            *(f"automation {name} is left out: give --webhook URL" for name in left_out),
        ]


def rendered(project: Path, environments: Sequence[str] = ()) -> dict[str, Any]:
    """The document of prefect.yaml. Raises UnknownName, InvalidDocument."""
    models = [load_model(name, project) for name in names("models", project)]
    return render(chosen_environments(project, environments), models)


def chosen_environments(project: Path, given: Sequence[str]) -> list[Environment]:
    """Those of `given`; else all that need no variable set, as a sandbox does. Raises UnknownName, InvalidDocument."""
    if given:
        return [load_environment(name, project) for name in given]
    every = [load_environment(name, project) for name in names("environments", project)]
    return [environment for environment in every if not environment.requires]


def part_of(project: Path, name: str) -> Path:
    """A file that comes with Slipway's repository. Raises InputError where the project does not have it."""
    path = project / name
    if path.is_file():
        return path
    raise InputError(
        f"{project} has no {name}, which comes with Slipway's repository",
        evidence=[f"it has: {', '.join(sorted(one.name for one in project.iterdir()))}"],
        next_command=f"copy {name} from the repository, or set SLIPWAY_HOME to a checkout of it",
    )


# -- pools and deployments


def _pools(client: SyncPrefectClient, pools: Mapping[str, WorkPool], template: str) -> list[str]:
    """Make the pools that are not there, and keep the job template of those of type kubernetes.

    One that is there for an environment of type process may be of another type, and stays as it is.
    Raises InputError where one of type kubernetes is wanted and the pool is of another.
    """
    there: dict[str, PrefectWorkPool] = {}
    for name, wanted in pools.items():
        with contextlib.suppress(ObjectNotFound):
            there[name] = client.read_work_pool(name)
            check_type(name, wanted.type, there[name].type)
    said = []
    for name, wanted in pools.items():
        job = job_template.completed(template, wanted.pod) if wanted.pod else {}
        if name not in there:
            made = WorkPoolCreate(name=name, type=wanted.type, base_job_template=job)
            client.create_work_pool(made)
            said.append(f"work pool {name}: made, of type {wanted.type}; a worker: {worker_of(name, wanted)}")
        elif wanted.pod and there[name].base_job_template != job:
            client.update_work_pool(name, WorkPoolUpdate(base_job_template=job))
            said.append(f"work pool {name}: its job template is changed")
    return said


def check_type(name: str, wanted: str, there: str) -> None:
    """Raises InputError where runs would have another kind of host than their environment's file says. Pure."""
    if wanted == "kubernetes" and there != wanted:
        raise InputError(
            f"the work pool {name} is of type {there}, and its environment asks for {wanted}",
            evidence=["a pool cannot change its type, and its deployments go with it: apply makes both anew"],
            next_command=f"prefect work-pool delete {name}",
        )


def worker_of(name: str, pool: WorkPool) -> str:
    """How its worker is started."""
    if pool.pod:
        return f"helm, with k8s/prefect/worker.yaml, in the namespace {pool.pod.namespace}"
    return f"prefect worker start --pool {name}"


def home_of(pool: WorkPool, project: Path) -> str:
    """The project's folder as a run of the pool sees it: SLIPWAY_HOME of this shell, else its kind's own. Pure but for that."""
    return os.environ.get("SLIPWAY_HOME") or (IMAGE_HOME if pool.pod else str(project))


def _deployments(
    client: SyncPrefectClient,
    document: Mapping[str, Any],
    pools: Mapping[str, WorkPool],
    project: Path,
    models: Sequence[Model],
) -> list[str]:
    known = names("environments", project)
    there = _ours(client)
    flows = {one: client.read_flow(one).name for one in {deployment.flow_id for deployment in there}}
    by_name = {(flows[one.flow_id], one.name): one for one in there}
    wanted: set[tuple[str, str]] = set()
    said = []
    for entry in document["deployments"]:
        flow = flow_of(entry)
        # a placeholder of prefect.yaml, for the worker's folder
        home = {"$SLIPWAY_HOME": home_of(pools[entry["work_pool"]["name"]], project)}
        pull: Any = apply_values(document["pull"], home, remove_notset=False)
        payload = payload_of(entry, pull, flow, [model.name for model in models], known)
        wanted.add((flow.name, entry["name"]))
        old = by_name.get((flow.name, entry["name"]))
        if old is None or old.version != payload["version"]:
            _register(client, flow.name, payload, entry.get("triggers", ()))
            said.append(f"deployment {flow.name}/{entry['name']}: {'changed' if old else 'made'}")
            said += [f"  schedule {one['slug']}: {_when(one)}, active" for one in entry.get("schedules", ())]
    registered = {entry["name"] for entry in document["deployments"]}
    for key, old in by_name.items():
        if key not in wanted and is_outdated(old.tags, registered, known):
            client.delete_resource_owned_automations(f"prefect.deployment.{old.id}")
            client.delete_deployment(old.id)
            said.append(f"deployment {key[0]}/{key[1]}: removed")
    return said or [f"{len(wanted)} deployments: nothing to change"]


def is_outdated(tags: Collection[str], registered: Collection[str], known: Collection[str]) -> bool:
    """Whether a deployment that is not wanted goes: one of ours, unless it is of an environment left out now. Pure."""
    if OURS not in tags:
        return False
    of = next((tag.removeprefix(ENVIRONMENT_TAG) for tag in tags if tag.startswith(ENVIRONMENT_TAG)), None)
    return of in registered or of not in known


def flow_of(entry: Mapping[str, Any]) -> Any:
    """The flow that a deployment's entrypoint names."""
    path, _, name = entry["entrypoint"].partition(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)


def payload_of(
    entry: Mapping[str, Any],
    pull: Sequence[Mapping[str, Any]],
    flow: Any,
    models: Sequence[str],
    environments: Sequence[str],
) -> dict[str, Any]:
    """The body of `POST /deployments/`, whose version is a digest of all of it. Pure."""
    limit = entry.get("concurrency_limit")
    body = {
        "name": entry["name"],
        "entrypoint": entry["entrypoint"],
        "path": None,
        "tags": entry["tags"],
        "description": flow.description,
        "work_pool_name": entry["work_pool"]["name"],
        "job_variables": entry["work_pool"]["job_variables"],
        "parameters": entry["parameters"],
        "parameter_openapi_schema": form(
            flow.fn, entry["parameters"], {"model": models, "source": environments}
        ),
        "enforce_parameter_schema": True,
        "pull_steps": list(pull),
        "concurrency_limit": limit and limit["limit"],
        "concurrency_options": limit and {"collision_strategy": limit["collision_strategy"]},
        "schedules": [_schedule(one) for one in entry.get("schedules", ())],
    }
    digest = hashlib.sha256(json.dumps([body, entry.get("triggers")], sort_keys=True).encode())
    return {**body, "version": digest.hexdigest()[:12]}


def _schedule(declared: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "slug": declared["slug"],
        "active": declared["active"],
        "schedule": {"cron": declared["cron"], "timezone": declared["timezone"]},
        "parameters": declared.get("parameters", {}),
    }


def _when(declared: Mapping[str, Any]) -> str:
    return f"{declared['cron']} {declared['timezone']}"


def _register(
    client: SyncPrefectClient, flow: str, payload: Mapping[str, Any], triggers: Sequence[Mapping[str, Any]]
) -> None:
    """Make or replace a deployment with its schedules and triggers."""
    body = {**payload, "flow_id": str(client.create_flow_from_name(flow))}
    identity = UUID(client.request("POST", "/deployments/", json=body).json()["id"])
    client.delete_resource_owned_automations(f"prefect.deployment.{identity}")
    for one in triggers:
        trigger = DeploymentEventTrigger.model_validate(one)
        trigger.set_deployment_id(identity)
        client.create_automation(trigger.as_automation())


def _ours(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """Every deployment with our tag."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[OURS]))
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=tagged, limit=PAGE, offset=len(found)):
        found += page
    return found


# -- automations


def declared_automations(project: Path) -> list[dict[str, Any]]:
    """What automations.yaml says. Raises InputError where it is not there, InvalidDocument where it is no list of them."""
    _, found = read_yaml(part_of(project, AUTOMATIONS_FILE), AUTOMATIONS_FILE)
    if isinstance(found, list) and all(
        isinstance(one, dict) and {"name", "actions"} <= one.keys() for one in found
    ):
        return found
    raise InvalidDocument(
        f"{AUTOMATIONS_FILE}: not a list of automations, each with a name and actions",
        next_command=f"edit {AUTOMATIONS_FILE}",
    )


def automations(
    declared: Sequence[Mapping[str, Any]], block: UUID | None
) -> tuple[list[AutomationCore], list[str]]:
    """The automations as Prefect takes them, and the names of those that need a webhook where there is none. Pure.

    Raises InvalidDocument for one that Prefect does not take.
    """
    made, left_out = [], []
    for one in declared:
        if block is None and any("block" in action for action in one["actions"]):
            left_out.append(str(one["name"]))
            continue
        actions = [
            {**{key: value for key, value in action.items() if key != "block"}, "block_document_id": block}
            if "block" in action
            else action
            for action in one["actions"]
        ]
        try:
            made.append(AutomationCore.model_validate({**one, "actions": actions, "tags": [AUTOMATIONS]}))
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
            raise InvalidDocument(
                f"{AUTOMATIONS_FILE}: Prefect does not take {one['name']}",
                evidence=wrong,
                next_command=f"edit {AUTOMATIONS_FILE}",
            ) from None
    return made, left_out


def outdated(there: Sequence[Automation], wanted: Collection[str]) -> list[Automation]:
    """Those `apply` made once that are not wanted any more. Others' are never touched. Pure."""
    return [one for one in there if AUTOMATIONS in one.tags and one.name not in wanted]


def declared_of(automation: AutomationCore) -> dict[str, Any]:
    """What of an automation is declared: not the ids that the server gives it and its trigger. Pure."""
    found = AutomationCore.model_validate(automation.model_dump()).model_dump()
    found["trigger"].pop("id", None)
    return found


def _converge(client: SyncPrefectClient, wanted: Sequence[AutomationCore]) -> list[str]:
    there = client.read_automations()
    ours = {one.name: one for one in there if AUTOMATIONS in one.tags}
    said = []
    for automation in wanted:
        known = ours.get(automation.name)
        if known is None:
            client.create_automation(automation)
        elif declared_of(known) != declared_of(automation):
            client.update_automation(known.id, automation)
        else:
            continue
        said.append(f"automation {automation.name}: {'changed' if known else 'made'}")
    for old in outdated(there, {one.name for one in wanted}):
        client.delete_automation(old.id)
        said.append(f"automation {old.name} removed")
    return said


def _block(client: SyncPrefectClient) -> UUID | None:
    """The id of the webhook's block, None where nobody has made it."""
    found = client.read_block_documents_by_type("webhook")
    return next((one.id for one in found if one.name == WEBHOOK_BLOCK), None)
