"""EndpointSlices of a Service (k8s.io/endpointslice). The older Endpoints are not made: nothing here reads them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.objects import (
    ENDPOINT_SLICES,
    NODES,
    PODS,
    SERVICES,
    Key,
    Object,
    controller_reference,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    short_hash,
    status_of,
    uid_of,
)
from slipway_sandbox.controllers.pods import has_labels, is_ready, is_terminal
from slipway_sandbox.controllers.writes import Create, Decision, Delete, Update, Write

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
PER_SLICE = 100  # --max-endpoints-per-slice

Port = tuple[str, int, str, str | None]
"""(name, number, protocol, appProtocol)"""


def selected_pods(service: Object, pods: Sequence[Object]) -> list[Object]:
    """Pods behind the service that have an address and have not ended, in order of their address."""
    selector = service["spec"].get("selector")
    if not selector:
        return []
    chosen = [
        pod
        for pod in pods
        if has_labels(pod, selector) and status_of(pod).get("podIP") and not is_terminal(pod)
    ]
    return sorted(chosen, key=lambda pod: (_address(pod), name_of(pod)))


def _address(pod: Object) -> tuple[int, int]:
    address = ipaddress.ip_address(status_of(pod)["podIP"])
    return address.version, int(address)


def ports_of(service: Object, pod: Object) -> tuple[Port, ...]:
    """The service's ports on this pod; a named target port the pod does not have is left out."""
    found = []
    for port in service["spec"].get("ports") or []:
        number = _target_port(port, pod)
        if number is not None:
            protocol = port.get("protocol") or "TCP"
            found.append((port.get("name") or "", number, protocol, port.get("appProtocol")))
    return tuple(found)


def _target_port(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    if target.isdigit():
        return int(target)
    for container in [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]:
        for candidate in container.get("ports") or []:
            same_protocol = candidate.get("protocol", "TCP") == port.get("protocol", "TCP")
            if candidate.get("name") == target and same_protocol:
                return int(candidate["containerPort"])
    return None


def _port_object(port: Port) -> Object:
    name, number, protocol, app_protocol = port
    body: Object = {"name": name, "port": number, "protocol": protocol}
    return body | ({"appProtocol": app_protocol} if app_protocol else {})


def _hostname(service: Object, pod: Object) -> Object:
    """The name of its own that a pod has under a headless service."""
    spec = pod["spec"]
    named = spec.get("hostname") and spec.get("subdomain") == name_of(service)
    return {"hostname": spec["hostname"]} if named else {}


def _reference(pod: Object) -> Object:
    namespace, name = key_of(pod)
    return {"kind": "Pod", "namespace": namespace, "name": name, "uid": uid_of(pod)}


def decide_slices(
    service: Object,
    pods: Sequence[Object],
    present: Sequence[Object],
    zone: Callable[[str], str | None],
) -> list[Write]:
    """The EndpointSlices, at most PER_SLICE endpoints each; terminating pods are in them, marked so."""
    groups: dict[tuple[Port, ...], list[Object]] = {}
    for pod in selected_pods(service, pods):
        groups.setdefault(ports_of(service, pod), []).append(_endpoint(service, pod, zone))
    wanted = [
        (ports, endpoints[start : start + PER_SLICE])
        for ports, endpoints in sorted(groups.items(), key=lambda group: repr(group[0]))
        for start in range(0, len(endpoints), PER_SLICE)
    ] or [((), [])]  # a service without pods has one empty slice
    labels = {**labels_of(service), SERVICE_NAME: name_of(service), MANAGED_BY: MANAGER}
    if service["spec"].get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    left = sorted((item for item in present if not is_deleting(item)), key=name_of)
    writes: list[Write] = []
    for number, (ports, endpoints) in enumerate(wanted):
        body: Object = {
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [_port_object(port) for port in ports],
        }
        if left:
            old = left.pop(0)
            same = all((old.get(name) or []) == value for name, value in body.items())
            if not same or labels_of(old) != labels:
                metadata = {**old["metadata"], "labels": labels}
                writes.append(Update(ENDPOINT_SLICES, {**old, **body, "metadata": metadata}))
            continue
        writes.append(Create(ENDPOINT_SLICES, {"metadata": _slice_metadata(service, labels, number), **body}))
    return writes + [Delete(ENDPOINT_SLICES, item) for item in left]


def _slice_metadata(service: Object, labels: dict[str, str], number: int) -> Object:
    return {
        # A name of its own rather than generateName: a create repeated after a lost answer is a 409, not a twin.
        "name": f"{name_of(service)}-{short_hash([uid_of(service), number], 5)}",
        "generateName": f"{name_of(service)}-",
        "namespace": service["metadata"]["namespace"],
        "labels": labels,
        "ownerReferences": [controller_reference(service, SERVICES)],
    }


def _endpoint(service: Object, pod: Object, zone: Callable[[str], str | None]) -> Object:
    terminating = is_deleting(pod)
    serving = is_ready(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    node = pod["spec"].get("nodeName")
    endpoint: Object = {
        "addresses": [status_of(pod)["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        **_hostname(service, pod),
        "targetRef": _reference(pod),
        "nodeName": node,
    }
    where = zone(node) if node else None
    return endpoint | ({"zone": where} if where else {})


class EndpointsController(Controller):
    component = "endpoint-controller"
    needs = (SERVICES, PODS, ENDPOINT_SLICES, NODES)

    def wire(self) -> None:
        self.watch_own(SERVICES)
        self.watch_children(ENDPOINT_SLICES, "Service")
        self.world.store(PODS).listen(self._pod_changed)

    async def reconcile(self, key: Key) -> None:
        service = self.world.store(SERVICES).get(*key)
        if service is None or not service["spec"].get("selector"):
            return
        pods = self.world.store(PODS).within(key[0])
        slices = self.world.store(ENDPOINT_SLICES).owned_by(uid_of(service))
        managed_slices = [item for item in slices if labels_of(item).get(MANAGED_BY) == MANAGER]
        await self.act(key, Decision(decide_slices(service, pods, managed_slices, self._zone)))

    def _zone(self, node: str) -> str | None:
        found = self.world.store(NODES).get("", node)
        return labels_of(found).get("topology.kubernetes.io/zone") if found else None

    def _pod_changed(self, before: Object | None, after: Object | None) -> None:
        """Only what an endpoint is made of: a pod's probes write its status far more often than that changes."""
        if before is not None and after is not None and _essence(before) == _essence(after):
            return
        for pod in (before, after):
            if pod is None:
                continue
            for service in self.world.store(SERVICES).within(pod["metadata"]["namespace"]):
                if has_labels(pod, service["spec"].get("selector") or {"": ""}):
                    self.queue.add(key_of(service))


def _essence(pod: Object) -> tuple[object, ...]:
    return (
        status_of(pod).get("podIP"),
        is_ready(pod),
        is_terminal(pod),
        is_deleting(pod),
        labels_of(pod),
        pod["spec"].get("nodeName"),
    )
