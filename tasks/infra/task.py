"""Infrastructure as Prefect tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.cloud.aws import aws_errors
from tasks.cloud.ebs import ebs_prices
from tasks.cloud.image_pull import more_for_pull
from tasks.cloud.instance_types import gpus_of
from tasks.infra import inventory, nodes, pool, smoke
from tasks.infra.existing import bucket_key, existing_variables, located, staying
from tasks.infra.minimum import raise_to_minimum, refuse_nodes_that_would_go
from tasks.infra.plan import Plan, plan_table
from tasks.infra.stacks import Stack, StackName
from tasks.infra.state import ensure_state_bucket, read_outputs, remove_state_bucket, state_exists
from tasks.infra.variables import (
    cluster_variables,
    infrastructure,
    storage_outputs,
    storage_variables,
    streamed_models,
)
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import AccessDenied, NothingDeployed
from tasks.records.model import Model
from tasks.records.results import StorageOutputs
from tasks.site import Site, aws_of
from tasks.task import SETTINGS, RunReporter, show_table, task


def _show(name: StackName, environment: Environment, plan: Plan) -> None:
    show_table(
        f"terraform-plan-{environment.name}-{name}", plan_table(plan), f"terraform plan of {name}: {plan}"
    )


def _caller(environment: Environment) -> dict[str, str]:
    """STS's answer about the credentials in use: Account and Arn."""
    with aws_errors("asking AWS who we are"):
        found: dict[str, str] = aws_of(environment).client("sts").get_caller_identity()
    return found


def check_account(environment: Environment) -> None:
    """Raises AccessDenied where the credentials are of another account than the environment's."""
    account = _caller(environment)["Account"]
    if environment.account and environment.account != account:
        raise AccessDenied(
            f"the credentials are of account {account}, {environment.name} belongs to {environment.account}",
            next_command="aws sts get-caller-identity",
        )


def storage_stack(environment: Environment, root: Path | None = None) -> Stack:
    aws = aws_of(environment)
    return Stack(
        "storage",
        environment,
        aws,
        root or project_root(),
        RunReporter("storage"),
        storage_variables(environment) | bucket_key(environment, aws),
    )


def cluster_stack(
    environment: Environment, storage: StorageOutputs, root: Path | None = None, model: Model | None = None
) -> Stack:
    """`model`: what is deployed now; one that streams its weights gets a role."""
    aws = aws_of(environment)
    made = read_outputs(environment, "cluster", aws).get("streamed_models") or {}
    caller = _caller(environment)["Arn"]
    return Stack(
        "cluster",
        environment,
        aws,
        root or project_root(),
        RunReporter("cluster"),
        cluster_variables(environment, storage, caller, streamed_models(made, model))
        | existing_variables(environment, aws),
    )


def check_stream_role(site: Site, model: Model) -> None:
    """Raises NothingDeployed where the model streams its weights and the cluster has no role for its pods."""
    if model.weights == "stream" and (model.name, model.source.repo) not in site.infrastructure.streamed:
        raise NothingDeployed(
            f"the pods of {model.name} have no role yet that reads {model.source.repo} from the model bucket",
            next_command=f"slipway deploy {model.name} -e {site.name}: terraform makes it",
        )


def site_of(environment: Environment, storage: StorageOutputs, outputs: dict[str, Any]) -> Site:
    """The site that the cluster stack's `outputs` describe."""
    return Site(
        environment=located(environment, outputs),
        storage=storage,
        infrastructure=infrastructure(outputs, environment),
    )


@task(task_run_name="terraform storage of {environment.name}", **SETTINGS)
def apply_storage(environment: Environment, may_destroy: Sequence[str] = ()) -> StorageOutputs:
    """State bucket, then the model bucket, its key and the hub token's secret."""
    ensure_state_bucket(environment, aws_of(environment), RunReporter("storage"))
    done = storage_stack(environment).converge(
        may_destroy=may_destroy, show=lambda plan: _show("storage", environment, plan)
    )
    return storage_outputs(done.outputs).model_copy(update={"plan": done.plan})


@task(task_run_name="terraform cluster of {environment.name}", **SETTINGS)
def apply_cluster(
    environment: Environment,
    storage: StorageOutputs,
    may_destroy: Sequence[str] = (),
    model: Model | None = None,
) -> Site:
    """Network, EKS, node groups, EKS add-ons, identities; of a `model` that streams its weights, its role."""
    if environment.cluster.gpu.uses_karpenter:
        refuse_nodes_that_would_go(environment, aws_of(environment))
    else:
        raise_to_minimum(environment, aws_of(environment), RunReporter("cluster"))
    done = cluster_stack(environment, storage, model=model).converge(
        may_destroy=may_destroy, show=lambda plan: _show("cluster", environment, plan)
    )
    site = site_of(environment, storage, done.outputs)
    return site.model_copy(
        update={"infrastructure": site.infrastructure.model_copy(update={"plan": done.plan})}
    )


@task(task_run_name="GPU nodes of {site.name}", **SETTINGS)
def gpu_nodes(site: Site, model: Model) -> list[str]:
    """The GPU nodes that the model's replicas need, `cluster.gpu.desired` at least, Ready; their names."""
    environment, aws, cluster = site.environment, site.aws(), site.cluster()
    gpu = environment.cluster.gpu
    gpus = gpus_of(aws, gpu.instance_type)
    needed = nodes.count(environment, model, cluster, gpus)
    if gpu.uses_karpenter:
        ready = pool.bring(
            environment,
            model,
            cluster,
            gpus,
            project_root(),
            RunReporter("gpu nodes"),
            show=lambda rows: show_table(
                f"gpu-capacity-{environment.name}",
                rows,
                f"What EC2 refused and gave for {model.name}",
                "nothing was refused, and no node was made",
            ),
        )
        if gpu.smoke:
            pull = more_for_pull(model.engine.image, environment)
            smoke.prove(
                environment, model, cluster, project_root(), RunReporter("gpu nodes"), more_for_pull=pull
            )
        return ready
    return nodes.scale_up(
        site.infrastructure,
        environment,
        aws,
        cluster,
        RunReporter("gpu nodes"),
        at_least=max(1, gpu.desired, needed),
    )


@task(task_run_name="no GPU node in {site.name}", **SETTINGS)
def no_gpu_nodes(site: Site) -> None:
    """No GPU node, or as few as the node group keeps."""
    if site.environment.cluster.gpu.uses_karpenter:
        pool.take_away(site.environment, site.cluster(), RunReporter("gpu nodes"))
        return
    nodes.scale_to_zero(
        site.infrastructure, site.environment, site.aws(), site.cluster(), RunReporter("gpu nodes")
    )


@task(task_run_name="GPU nodes of {site.name} go", **SETTINGS)
def remove_gpu_nodes(site: Site) -> None:
    """What Karpenter made, while it is there to end it; a node group's nodes go with the group."""
    if site.environment.cluster.gpu.uses_karpenter:
        pool.remove(site.environment, site.cluster(), RunReporter("teardown"))


@task(task_run_name="what {environment.name} is made of", **SETTINGS)
def read_infrastructure(environment: Environment) -> Site:
    """The outputs of both states, nothing changed. Raises NothingDeployed where nothing is deployed."""
    check_account(environment)
    missing = NothingDeployed(
        f"nothing is deployed in {environment.name}",
        next_command=f"slipway deploy MODEL -e {environment.name}",
    )
    if not state_exists(environment, aws_of(environment)):
        raise missing
    storage = read_outputs(environment, "storage", aws_of(environment))
    if not storage:
        raise missing
    outputs = storage_outputs(storage)
    cluster = read_outputs(environment, "cluster", aws_of(environment))
    if not cluster:
        raise missing
    return site_of(environment, outputs, cluster)


def state_bucket_is_there(environment: Environment) -> bool:
    return state_exists(environment, aws_of(environment))


@task(task_run_name="what is left of {environment.name}", **SETTINGS)
def read_remains(environment: Environment) -> tuple[StorageOutputs | None, Site | None]:
    """As `read_infrastructure`, but for a teardown: whatever an earlier one took away already is None.

    The cluster counts as there while EKS has it, whatever the state says.
    """
    check_account(environment)
    if not state_exists(environment, aws_of(environment)):
        return None, None
    found = read_outputs(environment, "storage", aws_of(environment))
    if not found:
        return None, None
    storage = storage_outputs(found)
    outputs = read_outputs(environment, "cluster", aws_of(environment))
    if not outputs or not nodes.cluster_exists(environment.eks_cluster, aws_of(environment)):
        return storage, None
    return storage, site_of(environment, storage, outputs)


@task(task_run_name="terraform drift of {environment.name}", **SETTINGS)
def find_drift(environment: Environment, model: Model | None = None) -> list[dict[str, str]]:
    """What an apply would change in either stack; an empty list means none. `model`: as of `apply_cluster`."""
    site = read_infrastructure.fn(environment)
    rows = []
    for stack in (storage_stack(environment), cluster_stack(environment, site.storage, model=model)):
        rows += [{"stack": stack.name, **row} for row in plan_table(stack.plan())]
    return rows


@task(task_run_name="what would change in {environment.name}", **SETTINGS)
def preview_changes(environment: Environment, model: Model | None = None) -> list[dict[str, str]]:
    """What an apply would change in either stack; one row where nothing is deployed yet. It changes nothing."""
    try:
        return find_drift.fn(environment, model)
    except NothingDeployed:
        return [{"stack": "both", "action": "create", "resource": "all of it: nothing is deployed yet"}]


@task(task_run_name="inventory of {environment.name}", **SETTINGS)
def list_inventory(environment: Environment) -> list[str]:
    """Everything the environment has in AWS now, as lines."""
    check_account(environment)
    return [str(item) for item in inventory.inventory(environment, aws_of(environment))]


@task(task_run_name="cache volumes of {environment.name} go", **SETTINGS)
def delete_volumes(environment: Environment) -> list[str]:
    """Delete retained cache volumes and snapshots of them; their ids."""
    deleted = inventory.delete_volumes(environment, aws_of(environment))
    for identity in deleted:
        RunReporter("teardown").say(f"deleted {identity}")
    return deleted


@task(task_run_name="fast restores of {environment.name} end", **SETTINGS)
def end_fast_restores(environment: Environment) -> list[str]:
    """Of snapshots that are kept: without a cluster they would only cost. A line for each."""
    lines = inventory.end_fast_restores(environment, aws_of(environment))
    for line in lines:
        RunReporter("teardown").say(line)
    return lines


@task(task_run_name="what stays of {environment.name} costs", **SETTINGS)
def price_storage(environment: Environment) -> list[str]:
    """What each cache volume and snapshot that is there costs a month, as lines; none where none is there."""
    aws = aws_of(environment)
    return inventory.storage_costs(environment, aws, ebs_prices(aws))


@task(task_run_name="destroy cluster of {environment.name}", **SETTINGS)
def destroy_cluster(environment: Environment, storage: StorageOutputs) -> list[str]:
    """The addresses left in the state, which should be none."""
    left = cluster_stack(environment, storage).destroy(lambda plan: _show("cluster", environment, plan))
    for line in staying(environment, "cluster"):
        RunReporter("teardown").say(line)
    return left


@task(task_run_name="destroy storage of {environment.name}", **SETTINGS)
def destroy_storage(environment: Environment) -> list[str]:
    """Model bucket, key and secret, then the state bucket. The addresses left, which should be none."""
    left = storage_stack(environment).destroy(lambda plan: _show("storage", environment, plan))
    reporter = RunReporter("teardown")
    for line in staying(environment, "storage"):
        reporter.say(line)
    if not left and remove_state_bucket(environment, aws_of(environment), reporter):
        reporter.say(f"removed the state bucket {environment.storage.state_bucket}")
    return left
