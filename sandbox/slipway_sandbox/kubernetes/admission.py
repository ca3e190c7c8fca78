"""What needs other objects to decide: cluster IPs, node ports, priorities, default storage class, service accounts.

These are the built-in admission plugins and allocators of kube-apiserver.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from slipway_sandbox.kubernetes import errors, quantities
from slipway_sandbox.kubernetes.core_rules import NODE_PORTS
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.resources import Registry, Resource
from slipway_sandbox.kubernetes.store import Object, Store

_TEMPLATES = "deprecated.daemonset.template.generation"
SHARE = 10 * 256  # addresses


class Admission:
    """Completes and refuses objects by what else the cluster holds. `network` is the 127.N block of the services.

    `share` is where in the block addresses are given from, in steps of SHARE: clusters of one sandbox listen side by side.
    """

    def __init__(self, store: Store, registry: Registry, network: str, share: int = 0) -> None:
        self._store, self._registry = store, registry
        self._first = ipaddress.IPv4Address(f"{network}.100.1")
        self._given_from = int(self._first) + share * SHARE
        self._last = ipaddress.IPv4Address(f"{network}.199.254")
        self._create: dict[tuple[str, str], Callable[[Resource, Object], None]] = {
            ("", "services"): self._service,
            ("", "namespaces"): self._namespace,
            ("batch", "jobs"): self._job,
            ("apps", "daemonsets"): self._daemon_set,
        }

    def create(self, resource: Resource, object_: Object, asked: str) -> None:
        """Complete a new object, in place. `asked`: the name it came with, or its prefix. Raises ApiStatus 403 or 422."""
        if resource.key == ("", "pods"):
            self._pod(resource, object_, asked)
        plugin = self._create.get(resource.key)
        if plugin is not None:
            plugin(resource, object_)

    def update(self, resource: Resource, new: Object, old: Object) -> None:
        """Complete a changed object, in place. Raises ApiStatus 422."""
        if resource.key == ("", "services"):
            spec, before = new["spec"], old["spec"]
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if key in before:
                    spec.setdefault(key, before[key])
            ports = {(p.get("name", ""), p["port"]): p.get("nodePort") for p in before.get("ports") or []}
            for port in spec.get("ports") or []:
                kept = ports.get((port.get("name", ""), port["port"]))
                if kept and "nodePort" not in port and spec["type"] in ("NodePort", "LoadBalancer"):
                    port["nodePort"] = kept
            self._service(resource, new)
        if resource.key == ("apps", "daemonsets"):
            before = (old["metadata"].get("annotations") or {}).get(_TEMPLATES, "0")
            changed = new["spec"]["template"] != old["spec"]["template"]
            _count_templates(new, int(before) + changed)
        if resource.key == ("", "pods"):
            for key in ("priority", "preemptionPolicy", "serviceAccountName", "serviceAccount", "nodeName"):
                if key in old["spec"]:
                    new["spec"].setdefault(key, old["spec"][key])
            self._tolerations(new["spec"])
        if resource.key == ("", "persistentvolumeclaims"):
            self._resize(resource, new, old)

    # ------------------------------------------------------------------------------------------ services

    def _service(self, resource: Resource, service: Object) -> None:
        spec, name = service["spec"], service["metadata"]["name"]
        uid = service["metadata"]["uid"]
        others = [s.object["spec"] for s in self._store.all(resource.key) if s.metadata["uid"] != uid]
        taken = {other.get("clusterIP") for other in others}
        wanted = spec.get("clusterIP") or ""
        if not wanted:
            spec["clusterIP"] = next(address for address in self._addresses() if address not in taken)
        elif wanted != "None" and (wanted in taken or not self._in_range(wanted)):
            why = (
                "provided IP is already allocated"
                if wanted in taken
                else "the provided IP is not in the valid range"
            )
            cause = Cause(
                "spec.clusterIPs", f'Invalid value: ["{wanted}"]: failed to allocate IP {wanted}: {why}'
            )
            raise errors.invalid(resource, name, [cause])
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if spec["type"] == "NodePort" or (
            spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)
        ):
            self._node_ports(resource, name, spec, others)

    def _addresses(self) -> Iterator[str]:
        for number in range(self._given_from, int(self._last) + 1):
            if number & 0xFF not in (0, 255):
                yield str(ipaddress.IPv4Address(number))

    def _in_range(self, address: str) -> bool:
        try:
            return self._first <= ipaddress.IPv4Address(address) <= self._last
        except ipaddress.AddressValueError:
            return False

    def _node_ports(self, resource: Resource, name: str, spec: Object, others: list[Object]) -> None:
        """Raises ApiStatus 422 for a port another service has."""
        held = {
            (p["nodePort"], p.get("protocol", "TCP"))
            for other in others
            for p in other.get("ports") or []
            if "nodePort" in p
        }
        for index, port in enumerate(spec.get("ports") or []):
            if (port.get("nodePort"), port.get("protocol", "TCP")) in held:
                wanted = port["nodePort"]
                cause = Cause(
                    f"spec.ports[{index}].nodePort",
                    f"Invalid value: {wanted}: provided port is already allocated",
                )
                raise errors.invalid(resource, name, [cause])
        taken = {number for number, _ in held}
        taken |= {port.get("nodePort") for port in spec.get("ports") or []}
        for port in spec.get("ports") or []:
            if "nodePort" not in port:
                port["nodePort"] = next(p for p in NODE_PORTS if p not in taken)
                taken.add(port["nodePort"])

    # ------------------------------------------------------------------------------------------ pods

    def _pod(self, resource: Resource, pod: Object, asked: str) -> None:
        spec, metadata = pod["spec"], pod["metadata"]
        spec.setdefault("serviceAccountName", "default")
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
        account = spec["serviceAccountName"]
        # The default account is made by a controller moments after its namespace; a named one must be there.
        if (
            account != "default"
            and self._store.get(("", "serviceaccounts"), metadata["namespace"], account) is None
        ):
            why = f'error looking up service account {metadata["namespace"]}/{account}: serviceaccount "{account}" not found'
            raise errors.forbidden(resource, asked, why)
        self._priority(resource, pod, asked)
        self._tolerations(spec)

    def _priority(self, resource: Resource, pod: Object, asked: str) -> None:
        spec = pod["spec"]
        name = spec.get("priorityClassName")
        classes = {
            c.metadata["name"]: c.object for c in self._store.all(("scheduling.k8s.io", "priorityclasses"))
        }
        if name and name not in classes:
            raise errors.forbidden(resource, asked, f"no PriorityClass with name {name} was found")
        chosen = (
            classes[name] if name else next((c for c in classes.values() if c.get("globalDefault")), None)
        )
        if chosen is not None:
            spec["priorityClassName"] = chosen["metadata"]["name"]
        priority, given = (chosen["value"] if chosen else 0), spec.get("priority")
        policy = (chosen or {}).get("preemptionPolicy", "PreemptLowerPriority")
        if given is not None and given != priority:
            why = (
                f"the integer value of priority ({given}) must not be provided in pod spec; "
                f"priority admission controller computed {priority} from the given PriorityClass name"
            )
            raise errors.forbidden(resource, asked, why)
        spec["priority"], spec["preemptionPolicy"] = priority, policy

    @staticmethod
    def _tolerations(spec: Object) -> None:
        """Plugin DefaultTolerationSeconds: five minutes on a node that is lost."""
        tolerations = spec.setdefault("tolerations", [])
        for taint in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
            if not any(
                t.get("key") in (taint, None) and t.get("effect") in ("NoExecute", None) for t in tolerations
            ):
                tolerations.append(
                    {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
                )

    # ------------------------------------------------------------------------------------------ claims

    def _resize(self, resource: Resource, new: Object, old: Object) -> None:
        """Plugin PersistentVolumeClaimResize: only a class that says so lets its claims grow."""
        sizes = [quantities.parse(c["spec"]["resources"]["requests"]["storage"]) for c in (new, old)]
        if sizes[0] <= sizes[1] or old.get("status", {}).get("phase") != "Bound":
            return
        wanted = old["spec"].get("storageClassName", "")
        found = self._store.get(("storage.k8s.io", "storageclasses"), None, wanted) if wanted else None
        if found is None or not found.object.get("allowVolumeExpansion"):
            why = (
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize"
            )
            raise errors.forbidden(resource, new["metadata"]["name"], why)

    @staticmethod
    def _namespace(_resource: Resource, namespace: Object) -> None:
        namespace["spec"] = {
            "finalizers": ["kubernetes"]
        }  # the namespace controller takes it off when all is gone

    @staticmethod
    def _daemon_set(_resource: Resource, daemon_set: Object) -> None:
        _count_templates(daemon_set, 1)

    @staticmethod
    def _job(_resource: Resource, job: Object) -> None:
        """The job strategy's own selector: pods are told apart by the job's uid."""
        spec, metadata = job["spec"], job["metadata"]
        uid = {"batch.kubernetes.io/controller-uid": metadata["uid"]}
        labels = spec["template"]["metadata"].setdefault("labels", {})
        mine = {"batch.kubernetes.io/job-name": metadata["name"], "job-name": metadata["name"]}
        labels |= mine | labels | uid | {"controller-uid": metadata["uid"]}
        selector = spec.setdefault("selector", {})
        selector["matchLabels"] = (selector.get("matchLabels") or {}) | uid
        if not metadata.get("labels"):  # a default that takes effect when it is read back
            metadata["labels"] = dict(labels)


def _count_templates(daemon_set: Object, count: int) -> None:
    """What was a field of extensions/v1beta1 lives on as an annotation that the server keeps."""
    metadata = daemon_set["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), _TEMPLATES: str(count)}
