"""Defaults of the built-in kinds: those clients read back and controllers rely on.

Source: k8s.io/kubernetes/pkg/apis/*/v1/defaults.go (1.32).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from slipway_sandbox.kubernetes import quantities
from slipway_sandbox.kubernetes.resources import Key
from slipway_sandbox.kubernetes.store import Object


def apply_defaults(key: Key, object_: Object) -> None:
    """Fill what the caller left out, in place. The object was decoded before: types are right, nulls are gone."""
    filler = _FILLERS.get(key)
    if filler is not None:
        filler(object_)


def _set(target: Object, **values: Any) -> None:
    for key, value in values.items():
        target.setdefault(key, value)


def _probe(probe: Object) -> None:
    _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if "httpGet" in probe:
        _set(probe["httpGet"], path="/", scheme="HTTP")
        probe["httpGet"]["path"] = probe["httpGet"]["path"] or "/"


def _container(container: Object) -> None:
    image = container.get("image", "")
    tag = (
        image.rpartition("/")[2].partition("@")[0].rpartition(":")[2]
        if ":" in image.rpartition("/")[2]
        else ""
    )
    latest = "@" not in image and tag in ("", "latest")
    _set(
        container,
        imagePullPolicy="Always" if latest else "IfNotPresent",
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        resources={},
    )
    resources = container["resources"]
    if resources.get("limits"):
        resources["requests"] = resources["limits"] | (resources.get("requests") or {})
    for port in container.get("ports") or []:
        _set(port, protocol="TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and "httpGet" in hook:
            _set(hook["httpGet"], path="/", scheme="HTTP")
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference:
            _set(reference, apiVersion="v1")


_VOLUME_MODES = ("configMap", "secret", "projected")


def _volume(volume: Object) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for source in _VOLUME_MODES:
        if source in volume:
            _set(volume[source], defaultMode=0o644)
    if "ephemeral" in volume:
        template = volume["ephemeral"].get("volumeClaimTemplate") or {}
        _set(template.get("spec", {}), volumeMode="Filesystem")


def pod_spec(spec: Object) -> None:
    """A pod's or a template's spec."""
    _set(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    if "serviceAccountName" in spec:
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif "serviceAccount" in spec:
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        _container(container)
    for volume in spec.get("volumes") or []:
        _volume(volume)


def _pod(pod: Object) -> None:
    spec = pod["spec"]
    pod_spec(spec)
    _set(spec, enableServiceLinks=True)
    status = pod.setdefault("status", {})
    _set(status, phase="Pending", qosClass=qos_class(spec))


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from the containers' CPU and memory."""
    containers = [*spec.get("initContainers", ()), *spec.get("containers", ())]
    guaranteed, any_set = True, False
    for container in containers:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            any_set = any_set or name in requests or name in limits
            same = name in limits and quantities.parse(limits[name]) == quantities.parse(
                requests.get(name, "0")
            )
            guaranteed = guaranteed and same
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _template(object_: Object) -> Object:
    template: Object = object_["spec"].setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))
    return template


def _deployment(deployment: Object) -> None:
    _template(deployment)
    spec = deployment["spec"]
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
    _set(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        rolling = spec["strategy"].setdefault("rollingUpdate", {})
        _set(rolling, maxUnavailable="25%", maxSurge="25%")


def _replica_set(replica_set: Object) -> None:
    _template(replica_set)
    _set(replica_set["spec"], replicas=1)


def _stateful_set(stateful_set: Object) -> None:
    _template(stateful_set)
    spec = stateful_set["spec"]
    _set(
        spec,
        replicas=1,
        podManagementPolicy="OrderedReady",
        revisionHistoryLimit=10,
        updateStrategy={},
        serviceName="",
    )
    _set(spec, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})
    _set(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _set(spec["updateStrategy"].setdefault("rollingUpdate", {}), partition=0)
    _set(stateful_set.setdefault("status", {}), availableReplicas=0)
    for claim in spec.get("volumeClaimTemplates") or []:
        _set(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        _claim(claim)


def _daemon_set(daemon_set: Object) -> None:
    _template(daemon_set)
    spec = daemon_set["spec"]
    _set(spec, revisionHistoryLimit=10, updateStrategy={})
    _set(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _set(spec["updateStrategy"].setdefault("rollingUpdate", {}), maxUnavailable=1, maxSurge=0)


def _job_spec(spec: Object) -> None:
    pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
    spec["template"].setdefault("metadata", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = spec["parallelism"] = 1
    _set(
        spec,
        parallelism=1,
        completionMode="NonIndexed",
        suspend=False,
        podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
    )
    _set(spec, backoffLimit=6, manualSelector=False)


def _job(job: Object) -> None:
    _job_spec(job["spec"])


def _claim(claim: Object) -> None:
    _set(claim["spec"], volumeMode="Filesystem")
    _set(claim.setdefault("status", {}), phase="Pending")


def _volume_pv(volume: Object) -> None:
    _set(volume["spec"], volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain")
    _set(volume.setdefault("status", {}), phase="Pending")


def _service(service: Object) -> None:
    spec = service.setdefault("spec", {})
    _set(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports") or []:
        _set(port, protocol="TCP", targetPort=port["port"])
        if port["targetPort"] in (0, ""):
            port["targetPort"] = port["port"]
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _set(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _set(spec, allocateLoadBalancerNodePorts=True)
    _set(spec, internalTrafficPolicy="Cluster")
    _set(service.setdefault("status", {}), loadBalancer={})


def _namespace(namespace: Object) -> None:
    _set(namespace.setdefault("metadata", {}), labels={})
    if name := namespace["metadata"].get("name"):
        namespace["metadata"]["labels"].setdefault("kubernetes.io/metadata.name", name)
    _set(namespace.setdefault("status", {}), phase="Active")


def _secret(secret: Object) -> None:
    for key, text in (secret.pop("stringData", None) or {}).items():
        secret.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()
    _set(secret, type="Opaque")


def _storage_class(storage_class: Object) -> None:
    _set(storage_class, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _network_policy(policy: Object) -> None:
    spec = policy.setdefault("spec", {})
    if "policyTypes" not in spec:
        spec["policyTypes"] = ["Ingress"] + (["Egress"] if spec.get("egress") else [])
    for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
        for port in rule.get("ports") or []:
            _set(port, protocol="TCP")


def _priority_class(priority_class: Object) -> None:
    _set(priority_class, preemptionPolicy="PreemptLowerPriority")


def _event(event: Object) -> None:
    """Go writes these fields, be they set or not."""
    _set(event, eventTime=None, firstTimestamp=None, lastTimestamp=None)
    _set(event, source={}, reportingComponent="", reportingInstance="")


def _endpoint_slice(endpoint_slice: Object) -> None:
    for endpoint in endpoint_slice.get("endpoints") or []:
        _set(endpoint, conditions={})
    for port in endpoint_slice.get("ports") or []:
        _set(port, name="", protocol="TCP")


def _definition(definition: Object) -> None:
    names = definition["spec"]["names"]
    if kind := names.get("kind"):
        _set(names, singular=kind.lower(), listKind=kind + "List")
    stored = [
        version["name"] for version in definition["spec"].get("versions") or [] if version.get("storage")
    ]
    first = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored[:1]}
    definition.setdefault("status", first)
    _set(definition["spec"], conversion={"strategy": "None"})


_NODE_INFO = (
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
)


def _node(node: Object) -> None:
    status = node.setdefault("status", {})
    _set(status, daemonEndpoints={}, nodeInfo={})
    _set(status["daemonEndpoints"], kubeletEndpoint={"Port": 0})
    _set(status["nodeInfo"], **dict.fromkeys(_NODE_INFO, ""))
    if "capacity" in status:
        _set(status, allocatable=dict(status["capacity"]))


_FILLERS: dict[Key, Callable[[Object], None]] = {
    ("", "pods"): _pod,
    ("", "services"): _service,
    ("", "namespaces"): _namespace,
    ("", "secrets"): _secret,
    ("", "nodes"): _node,
    ("", "events"): _event,
    ("", "persistentvolumeclaims"): _claim,
    ("", "persistentvolumes"): _volume_pv,
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _replica_set,
    ("apps", "statefulsets"): _stateful_set,
    ("apps", "daemonsets"): _daemon_set,
    ("batch", "jobs"): _job,
    ("storage.k8s.io", "storageclasses"): _storage_class,
    ("networking.k8s.io", "networkpolicies"): _network_policy,
    ("scheduling.k8s.io", "priorityclasses"): _priority_class,
    ("discovery.k8s.io", "endpointslices"): _endpoint_slice,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
}
