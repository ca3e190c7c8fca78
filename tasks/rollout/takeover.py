"""Apply a release the way its plan says, and ask it through the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.cloud.scaling import resume
from tasks.records import names
from tasks.records.abilities import abilities_of
from tasks.records.model import Model
from tasks.records.names import HOLDER
from tasks.records.pairs import Paired
from tasks.records.results import Endpoint
from tasks.records.strategy import Strategy
from tasks.releases.ledger import Serving
from tasks.releases.records import ReleaseRecord
from tasks.rollout import bluegreen, budgets, gateway, holder
from tasks.rollout.asking import ask_endpoint
from tasks.rollout.context import RolloutContext
from tasks.rollout.endpoint_check import Proving
from tasks.rollout.gate import wait_for_pods
from tasks.rollout.pod_phases import release_pods
from tasks.rollout.strategy import RolloutPlan

VLLM_PORT = 8000  # k8s/serving/deployment.yaml


@dataclass(frozen=True)
class Takeover:
    """One release about to take over.

    Args:
        record: the release with its documents.
        budget: seconds its pods may take to come up.
        replicas: of the Deployment it takes over from.
        known: the ledger's state before.
        last: the release that the ledger says serves.
        unchanged: whether the Deployment has this release already.
        green_serves: whether a green Deployment of a run that died still carries the traffic.
    """

    model: Model
    record: ReleaseRecord
    plan: RolloutPlan
    budget: float
    replicas: int
    known: Serving
    last: ReleaseRecord | None
    unchanged: bool
    green_serves: bool

    @property
    def release_id(self) -> str:
        return self.record.release.id

    @property
    def previous_release_id(self) -> str | None:
        """The release that served before this one."""
        return self.known.serving if self.known.serving != self.release_id else self.known.previous

    @property
    def workload(self) -> str:
        return names.workload(self.model)

    def document(self, kind: str) -> Object:
        return next(document for document in self.record.documents if document["kind"] == kind)


def take_over(context: RolloutContext, takeover: Takeover) -> Paired | None:
    """Apply the release as planned and wait until its Deployment is complete with it; what it was beside the one before.

    Raises RolloutFailed, and ValidationFailed where it was worse.
    """
    green_serves, paired = takeover.green_serves, None
    if takeover.plan.strategy is Strategy.BLUE_GREEN:
        paired = prove_green(context, takeover)
        green_serves = True
    elif takeover.model.rollout.pairs and takeover.known.serving:
        context.reporter.warn(
            f"not asked in pairs: {takeover.plan.strategy} has not both releases up at once"
        )
    for document in takeover.record.documents:
        if document["kind"] == "Deployment" and takeover.plan.canary:
            prove_canary(context, takeover)
        if not (green_serves and document["kind"] == "Service"):
            context.cluster.apply(document)
    budgets.remove_stale(context, takeover.model, takeover.record.documents)
    apply_gateway(context, takeover.model)
    fewest = max(1, takeover.model.scaling.min_replicas)
    resume(context.cluster, context.namespace, takeover.workload, fewest)
    wait_for_pods(context, takeover.workload, takeover.release_id, takeover.budget)
    if green_serves:
        bluegreen.turn_back(context, takeover.model, takeover.record.documents)
        context.reporter.say("the Service leads to the model's own Deployment again, green has gone")
    return paired


def prove_green(context: RolloutContext, takeover: Takeover) -> Paired | None:
    """Start the whole release on pods of its own; once they are ready, point the Service at them and ask it.

    Before, where the model's file wants it, both releases are asked in pairs; what came of it.
    """
    name = bluegreen.green_name(takeover.model)
    for document in takeover.record.documents:
        if document["kind"] not in ("Deployment", "Service", "ScaledObject"):
            context.cluster.apply(document)
    context.cluster.apply(
        bluegreen.green_of(takeover.document("Deployment"), takeover.model, takeover.replicas)
    )
    green = wait_for_pods(context, name, takeover.release_id, takeover.budget)
    paired = ask_in_pairs(context, takeover, green)
    context.cluster.apply(bluegreen.to_green(takeover.document("Service"), takeover.model))
    apply_gateway(context, takeover.model)
    ask(context, takeover, name)
    context.reporter.say("green passed its gate and serves; the model's own Deployment follows")
    return paired


def ask_in_pairs(context: RolloutContext, takeover: Takeover, green: Sequence[Object]) -> Paired | None:
    """Ask the pods that serve and the green ones in turn; None where nobody wants it, or nothing serves to compare with."""
    serving = takeover.known.serving
    if not (takeover.model.rollout.pairs and context.beside and serving):
        return None
    selector = names.serving_selector(takeover.model)
    listed = context.cluster.list("v1", "Pod", context.namespace, label_selector=selector)
    blue = [pod for pod in release_pods(listed, serving) if objects.is_ready(pod)]
    if not blue:
        context.reporter.warn(f"not asked in pairs: no pod of release {serving} is ready")
        return None
    return context.beside(addresses(blue), addresses(green), serving)


def addresses(pods: Sequence[Object]) -> list[str]:
    """vLLM's base URL on each pod."""
    hosts = [str(objects.status(pod)["podIP"]) for pod in pods]
    return [f"http://{f'[{host}]' if ':' in host else host}:{VLLM_PORT}/v1" for host in hosts]


def prove_canary(context: RolloutContext, takeover: Takeover) -> None:
    """Replace only the plan's first replicas: pause the rollout with them and ask through the gateway.

    The pause is a field of the applied document, so applying the release again (here, or to go back) ends it.
    """
    name, first = takeover.workload, takeover.plan.canary
    document = takeover.document("Deployment")
    paused = {**document, "spec": {**document["spec"], "paused": True}}
    if not objects.spec(context.workload(name)).get("paused"):
        generation = int(context.cluster.apply(document)["metadata"]["generation"])
        context.wait_until(
            lambda: updated_replicas(context.workload(name), generation) >= first,
            context.environment.deadlines.pod_start,
            f"the Deployment {name} makes no pods of the new release",
            name,
        )
    context.cluster.apply(paused)
    context.reporter.say(f"canary: {first} of {takeover.replicas} replicas first, the others wait")
    wait_for_pods(context, name, takeover.release_id, takeover.budget, first=first)
    ask(context, takeover, name)
    context.reporter.say("canary passed its gate: the rest follows")


def updated_replicas(workload: Mapping[str, Any] | None, generation: int) -> int:
    """Replicas with the spec of `generation`, as far as the Deployment's controller has seen it."""
    status = objects.status(workload)
    seen = int(status.get("observedGeneration") or 0) >= generation
    return int(status.get("updatedReplicas") or 0) if seen else 0


def apply_gateway(context: RolloutContext, model: Model) -> None:
    """Apply the model's route, the holder where a model may sleep, and the gateway.

    After the serving documents, and the holder before the gateway: NGINX resolves their Services when it starts.
    """
    keys = gateway.keys_digest(context.cluster, context.namespace)
    routes = gateway.apply_route(context.root, context.cluster, model, context.environment)
    models = holder.held_models(routes)
    for document in holder.documents(context.root, context.environment, models):
        context.cluster.apply(document)
    for document in gateway.documents(context.root, context.environment, routes, keys):
        context.cluster.apply(document)
    if not models:
        for api, kind in holder.WORKLOADS:
            context.cluster.delete(api, kind, HOLDER, context.namespace)


def ask(context: RolloutContext, takeover: Takeover, workload: str) -> tuple[Endpoint, str]:
    """The gateway's endpoint, and what the model answers through it. Raises RolloutFailed."""
    endpoint = gateway.endpoint_of(
        context.cluster, context.environment, takeover.model, seconds=takeover.budget, time=context.time
    )
    model = takeover.model
    abilities = abilities_of(model.engine.extra_args) if model.route == "chat" else {}
    if model.images and model.route == "chat":
        abilities["image"] = ""
    proving = Proving(abilities, model.engine.max_model_len, tuple(lora.name for lora in model.engine.lora))
    return endpoint, ask_endpoint(context, endpoint, workload, proving)
