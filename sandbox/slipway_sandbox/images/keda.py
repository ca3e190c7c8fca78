"""Stand-in for KEDA's operator: scales by ScaledObjects with prometheus triggers, from and to zero.

`python -m slipway_sandbox.images.keda [operator] [--health-probe-bind-address=:8081]`, in a pod: reaches the API through $KUBECONFIG,
service names through $SLIPWAY_SANDBOX_HOSTS. Wording and order of decisions: kedacore/keda,
pkg/scaling/executor/scale_scaledobjects.go; the steps between one and many are the HPA's, in `keda_scaling`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from slipway_sandbox.apiclient import ApiClient, ApiError
from slipway_sandbox.controllers.controller import Controller, World, utc_now
from slipway_sandbox.controllers.objects import (
    Key,
    Object,
    Resource,
    annotations_of,
    is_deleting,
    key_of,
    status_of,
    uid_of,
)
from slipway_sandbox.controllers.writes import Create, Note, Patch
from slipway_sandbox.images.hosts import HostsFile
from slipway_sandbox.images.keda_hpa import AUTOSCALERS, hpa_name, hpa_of, hpa_status
from slipway_sandbox.images.keda_scaling import Reading, ScalerState, decide_scaling, paused_at
from slipway_sandbox.images.operator_pod import FORMAT, client_from_kubeconfig, health, until_told_to_end

log = logging.getLogger("keda")
SCALED_OBJECTS = Resource("keda.sh/v1alpha1", "scaledobjects", "ScaledObject")
METRICS_API = "v1beta1.external.metrics.k8s.io"
FINALIZER = "finalizer.keda.sh"
_TIMEOUT = aiohttp.ClientTimeout(total=3)  # KEDA_HTTP_DEFAULT_TIMEOUT
_WAIT_FOR_DEFINITION = 0.5
_HPA_SYNC = 15.0  # --horizontal-pod-autoscaler-sync-period of kube-controller-manager, its default


class TriggerError(Exception):
    """A trigger is misconfigured, or its source did not answer with a number."""


class HostsResolver(AbstractResolver):
    """aiohttp's resolver over a hosts file."""

    def __init__(self, hosts: HostsFile) -> None:
        self._hosts = hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=self._hosts.lookup(host),
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Do nothing: no connection is held."""


def read_answer(body: Object, query: str, *, ignore_null: bool) -> float:
    """Read the single value of a Prometheus instant query (prometheus_scaler.go). Raises TriggerError."""
    result = body["data"]["result"]
    if not result:
        if ignore_null:
            return 0.0
        raise TriggerError("prometheus metrics 'prometheus' target may be lost, the result is empty")
    if body["data"]["resultType"] == "scalar":
        value = float(result[1])
    else:
        if len(result) > 1:
            raise TriggerError(f"prometheus query {query} returned multiple elements")
        value = float(result[0]["value"][1])
    if math.isinf(value) or math.isnan(value):
        if ignore_null:
            return 0.0
        raise TriggerError(f"prometheus query returns {value}")
    return value


@dataclass(frozen=True)
class Target:
    """The object a ScaledObject scales."""

    resource: Resource
    namespace: str
    name: str

    @property
    def scale_path(self) -> str:
        return ApiClient.path(self.resource.api, self.resource.plural, self.namespace, self.name, "scale")


def target_of(item: Object) -> Target:
    """Resolve scaleTargetRef; the default kind is a Deployment of apps/v1."""
    reference = item["spec"]["scaleTargetRef"]
    kind = reference.get("kind") or "Deployment"
    plural = (
        f"{kind.lower()}s"  # true of all that have a scale subresource: Deployment, StatefulSet, ReplicaSet
    )
    resource = Resource(reference.get("apiVersion") or "apps/v1", plural, kind)
    return Target(resource, item["metadata"]["namespace"], reference["name"])


class Operator(Controller):
    """Reconciles each ScaledObject every pollingInterval, and at once when it changes."""

    component = "keda-operator"
    needs = (SCALED_OBJECTS,)

    def __init__(self, world: World, http: aiohttp.ClientSession) -> None:
        super().__init__(world)
        self._http = http
        self._states: dict[str, ScalerState] = {}

    def wire(self) -> None:
        self.world.store(SCALED_OBJECTS).listen(self._changed)

    def _changed(self, before: Object | None, after: Object | None) -> None:
        """What a user can change: status writes do not trigger another reconcile."""
        if after is None:
            if before is not None:
                self._states.pop(uid_of(before), None)
        elif before is None or _asked(before) != _asked(after):
            self.queue.add(key_of(after))

    async def reconcile(self, key: Key) -> None:
        item = self.world.store(SCALED_OBJECTS).get(*key)
        if item is None:
            return
        if is_deleting(item):
            await self._end(item)
            return
        if FINALIZER not in (item["metadata"].get("finalizers") or []):
            finalizers = [*(item["metadata"].get("finalizers") or []), FINALIZER]
            version = item["metadata"]["resourceVersion"]
            metadata = {"finalizers": finalizers, "resourceVersion": version}
            item = await self.world.write(self.component, Patch(SCALED_OBJECTS, item, {"metadata": metadata}))
            assert item is not None
        await self._scale(item)
        self.queue.add_after(key, min(float(item["spec"].get("pollingInterval") or 30), _HPA_SYNC))

    async def _scale(self, item: Object) -> None:
        target = target_of(item)
        scale = await self.world.client.get(target.scale_path)
        if scale is None:
            await self._report_missing(item, target)
            return
        readings = [] if paused_at(item) is not None else await self._read_all(item)
        state = self._states.setdefault(uid_of(item), ScalerState())
        verdict = decide_scaling(item, scale, readings, state, self.world.now())
        if verdict.replicas is not None and verdict.replicas != int(scale["spec"].get("replicas") or 0):
            await self.world.client.patch(target.scale_path, {"spec": {"replicas": verdict.replicas}})
            log.info(
                "scaled %s %s/%s to %d", target.resource.kind, target.namespace, target.name, verdict.replicas
            )
        for reason, message in verdict.events:
            self.world.recorder.note(self.component, Note(item, "ScaledObject", reason, message))
        hpa = await self._show_hpa(item, target, scale, readings)
        await self._write_status(item, self._basics(item, target, scale) | hpa | verdict.status)

    async def _show_hpa(self, item: Object, target: Target, scale: Object, readings: list[Reading]) -> Object:
        """Keep the HPA of a ScaledObject, and the status the HPA's controller would write; a paused one has none."""
        name = hpa_name(item)
        path = ApiClient.path(AUTOSCALERS.api, AUTOSCALERS.plural, target.namespace, name)
        found = await self.world.client.get(path)
        if paused_at(item) is not None:
            if found is not None:
                await self.world.client.delete(path)
            return {}
        body = hpa_of(item, target.resource.api, target.resource.kind)
        if found is None:
            found = await self.world.write(self.component, Create(AUTOSCALERS, body))
        elif any(found["spec"].get(key) != value for key, value in body["spec"].items()):
            found = await self.world.write(self.component, Patch(AUTOSCALERS, found, {"spec": body["spec"]}))
        if found is not None:
            status = hpa_status(int(scale["spec"].get("replicas") or 0), readings)
            if status_of(found) != status:
                await self.world.write(
                    self.component, Patch(AUTOSCALERS, found, {"status": status}, "status")
                )
        return {"hpaName": name}

    async def _read_all(self, item: Object) -> list[Reading]:
        readings = []
        for index, trigger in enumerate(item["spec"]["triggers"]):
            name = f"s{index}-{trigger['type']}"
            try:
                reading = await self._read(name, trigger)
            except (TriggerError, aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError) as error:
                log.warning(
                    "error getting scaler metrics, but continue to use cached metrics: %s: %r", name, error
                )
                reading = Reading(name, error=f"{error}" or repr(error))
                message = f"scaler {name}: {reading.error}"
                note = Note(item, "ScaledObject", "KEDAScalerFailed", message, warning=True)
                self.world.recorder.note(self.component, note)
            readings.append(reading)
        return readings

    async def _read(self, name: str, trigger: Object) -> Reading:
        if trigger["type"] != "prometheus":
            raise TriggerError(f"no scaler found for type: {trigger['type']}")
        metadata = trigger["metadata"]
        query = metadata["query"]
        ignore_null = str(metadata.get("ignoreNullValues", "true")).lower() != "false"
        url = metadata["serverAddress"].rstrip("/") + "/api/v1/query"
        async with self._http.get(url, params={"query": query}, timeout=_TIMEOUT) as response:
            if response.status >= 300:
                raise TriggerError(f"prometheus query api returned error. status: {response.status}")
            value = read_answer(json.loads(await response.text()), query, ignore_null=ignore_null)
        return Reading(
            name,
            value=value,
            threshold=float(metadata["threshold"]),
            active=value > float(metadata.get("activationThreshold", 0)),
            average=trigger.get("metricType", "AverageValue") == "AverageValue",
        )

    def _basics(self, item: Object, target: Target, scale: Object) -> Object:
        group, _, version = target.resource.api.rpartition("/")
        kinds = [trigger["type"] for trigger in item["spec"]["triggers"]]
        original = status_of(item).get("originalReplicaCount", scale["spec"].get("replicas", 0))
        return {
            "scaleTargetKind": f"{target.resource.api}.{target.resource.kind}",
            "scaleTargetGVKR": {
                "group": group,
                "version": version,
                "kind": target.resource.kind,
                "resource": target.resource.plural,
            },
            "originalReplicaCount": original,
            "externalMetricNames": [f"s{index}-{kind}" for index, kind in enumerate(kinds)],
            "triggersTypes": ",".join(dict.fromkeys(kinds)),
            "authenticationsTypes": "",
        }

    async def _report_missing(self, item: Object, target: Target) -> None:
        detail = f'{target.resource.plural}.apps "{target.name}" not found'
        message = f"ScaledObject doesn't have correct scaleTargetRef specification: {detail}"
        conditions = [
            {"type": "Ready", "status": "False", "reason": "ScaledObjectCheckFailed", "message": message},
            {
                "type": "Active",
                "status": "Unknown",
                "reason": "UnknownState",
                "message": "ScaledObject check failed",
            },
            {"type": "Fallback", "status": "Unknown"},
            {"type": "Paused", "status": "Unknown"},
        ]
        note = Note(item, "ScaledObject", "ScaledObjectCheckFailed", message, warning=True)
        self.world.recorder.note(self.component, note)
        await self._write_status(item, {"conditions": conditions})

    async def _write_status(self, item: Object, status: Object) -> None:
        old = status_of(item)
        changes = {name: value for name, value in status.items() if old.get(name) != value}
        if "conditions" in changes and "pausedReplicaCount" in old and "pausedReplicaCount" not in status:
            changes["pausedReplicaCount"] = None
        if changes:
            await self.world.write(self.component, Patch(SCALED_OBJECTS, item, {"status": changes}, "status"))

    async def _end(self, item: Object) -> None:
        """Finalize a deleted ScaledObject: restore the target's replicas if it asks for that."""
        finalizers = item["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return
        target = target_of(item)
        original = status_of(item).get("originalReplicaCount")
        restore = (item["spec"].get("advanced") or {}).get("restoreToOriginalReplicaCount")
        if restore and original is not None and await self.world.client.get(target.scale_path) is not None:
            await self.world.client.patch(target.scale_path, {"spec": {"replicas": original}})
        left = [name for name in finalizers if name != FINALIZER]
        metadata = {"finalizers": left, "resourceVersion": item["metadata"]["resourceVersion"]}
        await self.world.write(self.component, Patch(SCALED_OBJECTS, item, {"metadata": metadata}))


def _asked(item: Object) -> tuple[object, ...]:
    return item["spec"], annotations_of(item), is_deleting(item), uid_of(item)


async def wait_for_definition(client: ApiClient) -> None:
    """Wait until keda.sh/v1alpha1 is served (the chart's CRDs bring it), for as long as the pod lives."""
    said = False
    while True:
        try:
            document = await client.get("/apis/keda.sh/v1alpha1")
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("API server: %s", error)
            document = None
        if document and any(r["name"] == SCALED_OBJECTS.plural for r in document["resources"]):
            return
        if not said:
            log.info("no matches for kind ScaledObject in version keda.sh/v1alpha1; waiting for it")
            said = True
        await asyncio.sleep(_WAIT_FOR_DEFINITION)


async def run_operator(client: ApiClient, hosts: Path) -> None:
    """Run until cancelled."""
    connector = aiohttp.TCPConnector(resolver=HostsResolver(HostsFile(hosts)), use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
        world = World(client, group, utc_now)
        operator = Operator(world, http)
        await wait_for_definition(client)
        group.create_task(world.recorder.run(), name="events")
        await operator.run()


async def serve_metrics_api(client: ApiClient) -> None:
    """Say that the metrics API is available, as kube-apiserver does: here it has no program of its own."""
    condition = {
        "type": "Available",
        "status": "True",
        "reason": "Local",
        "message": "Local APIServices are always available",
        "lastTransitionTime": utc_now().strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    path = client.path("apiregistration.k8s.io/v1", "apiservices", None, METRICS_API, "status")
    while True:
        try:
            await client.patch(path, {"status": {"conditions": [condition]}})
        except ApiError as error:
            if error.code != 404:
                raise
            # helm makes it after the Deployment whose pod this is
            await asyncio.sleep(_WAIT_FOR_DEFINITION)
        else:
            return


def _health_port(arguments: list[str]) -> int:
    for argument in arguments:
        if argument.startswith("--health-probe-bind-address="):
            return int(argument.rpartition(":")[2])
    return 8081


async def _main(arguments: list[str]) -> None:
    log.info("Starting manager")
    client = client_from_kubeconfig(Path(os.environ["KUBECONFIG"]))
    async with (
        health(os.environ["SLIPWAY_SANDBOX_POD_IP"], _health_port(arguments)),
        client,
        asyncio.TaskGroup() as group,
    ):
        serving = group.create_task(serve_metrics_api(client), name="metrics API")
        await until_told_to_end(run_operator(client, Path(os.environ["SLIPWAY_SANDBOX_HOSTS"])), log)
        serving.cancel()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=FORMAT)
    asyncio.run(_main(sys.argv[1:]))
