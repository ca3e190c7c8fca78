"""EKS managed node groups: what is wanted, and what EC2 refused. The nodes themselves come from the nodes part."""

from __future__ import annotations

import uuid
from fnmatch import fnmatchcase
from typing import Any

from slipway_sandbox.aws import vcpus
from slipway_sandbox.aws.eks import network
from slipway_sandbox.aws.eks.access import node_entry
from slipway_sandbox.aws.eks.clusters import CATALOGUE, KUBERNETES, NAME
from slipway_sandbox.aws.eks.state import (
    GONE,
    Cluster,
    Nodegroup,
    State,
    in_use,
    invalid,
    not_found,
    require_active,
)
from slipway_sandbox.aws.wire import Caller, Document, page

RESERVED = (
    "kubernetes.io/",
    "k8s.io/",
    "eks.amazonaws.com/",
)  # github.com/aws/containers-roadmap/issues/1451
EFFECTS = ("NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE")
DELETE_SECONDS = 0.3
UPDATE_SECONDS = 0.3
RELEASE = "20260714"  # of the AMI releases in EKS's form, e.g. 1.34.1-20260714


class Nodegroups:
    """Create/Describe/List/DeleteNodegroup, UpdateNodegroupConfig and UpdateNodegroupVersion."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create_nodegroup(self, parameters: Document, caller: Caller) -> Document:
        state = self._state
        with state.lock:
            cluster = state.cluster(parameters["clusterName"])
            require_active(cluster, state.clock)
            self._check(cluster, parameters)
            document = self._document(cluster, parameters)
            boot = state.settings.nodegroup_boot_seconds
            group = Nodegroup(document, state.until("CREATING", "ACTIVE", boot))
            group.launching = document["scalingConfig"]["desiredSize"] > 0
            state.nodegroups(cluster)[parameters["nodegroupName"]] = group
            node_entry(state, cluster, parameters["nodeRole"])
            return {"nodegroup": self._show(group)}

    def describe_nodegroup(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            return {"nodegroup": self._show(self._group(parameters)[1])}

    def list_nodegroups(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            groups = self._state.nodegroups(self._state.cluster(parameters["clusterName"]))
            names, token = page(list(groups), parameters)
        return {"nodegroups": names, "nextToken": token}

    def delete_nodegroup(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            _, group = self._group(parameters)
            if group.transition.status(self._state.clock) == "DELETING":
                raise in_use("Nodegroup is already being deleted", **self._names(group))
            group.failed = False
            group.issues = []
            group.transition = self._state.until("DELETING", GONE, DELETE_SECONDS)
            return {"nodegroup": self._show(group)}

    def update_nodegroup_config(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            _, group = self._group(parameters)
            self._updatable(group)
            changes: Document = {}
            if scaling := parameters.get("scalingConfig"):
                changes |= self._scale(group, scaling)
            if labels := parameters.get("labels"):
                changes |= _relabel(group.document["labels"], labels)
            if taints := parameters.get("taints"):
                changes |= _retaint(group.document, taints)
            for key in ("updateConfig", "nodeRepairConfig"):
                if key in parameters:
                    group.document[key] = parameters[key]
                    changes |= {k[0].upper() + k[1:]: v for k, v in parameters[key].items()}
            return {"update": self._start(group, "ConfigUpdate", changes)}

    def update_nodegroup_version(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            cluster, group = self._group(parameters)
            self._updatable(group)
            changes: Document = {}
            if wanted := parameters.get("launchTemplate"):
                template = network.launch_template(self._state.region, wanted)
                group.document["launchTemplate"] = template
                changes |= {
                    "LaunchTemplateName": template["name"],
                    "LaunchTemplateVersion": template["version"],
                }
            version = parameters.get("version") or cluster.document["version"]
            if version not in KUBERNETES or version > cluster.document["version"]:
                raise invalid(
                    f"Requested Nodegroup version {version} is greater than the cluster's version",
                    **self._names(group),
                )
            release = parameters.get("releaseVersion") or release_of(version)
            group.document.update(version=version, releaseVersion=release)
            changes |= {"Version": version, "ReleaseVersion": release}
            return {"update": self._start(group, "VersionUpdate", changes)}

    def _group(self, parameters: Document) -> tuple[Cluster, Nodegroup]:
        cluster = self._state.cluster(parameters["clusterName"])
        name = parameters["nodegroupName"]
        group = self._state.nodegroups(cluster).get(name)
        if group is None:
            raise not_found(
                f"No node group found for name: {name}.", clusterName=cluster.name, nodegroupName=name
            )
        return cluster, group

    def _updatable(self, group: Nodegroup) -> None:
        status = self._show(group)["status"]
        if status not in ("ACTIVE", "DEGRADED"):
            raise in_use(
                "Nodegroup cannot be updated as it is currently not in Active State", **self._names(group)
            )

    def _start(self, group: Nodegroup, kind: str, changes: Document) -> Document:
        if not changes:
            raise invalid("No changes needed for the node group config provided", **self._names(group))
        update = self._state.update(kind, changes, UPDATE_SECONDS)
        group.updates[update.document["id"]] = update
        group.transition = self._state.until("UPDATING", "ACTIVE", UPDATE_SECONDS)
        group.document["modifiedAt"] = self._state.clock.now()
        return update.show(self._state.clock)

    def _scale(self, group: Nodegroup, wanted: Document) -> Document:
        before = group.document["scalingConfig"]
        after = {**before, **wanted}
        _check_scaling(after, **self._names(group))
        if after["desiredSize"] > before["desiredSize"]:
            group.launching = True
        group.document["scalingConfig"] = after
        return {key[0].upper() + key[1:]: value for key, value in wanted.items()}

    def _check(self, cluster: Cluster, parameters: Document) -> None:
        name = parameters["nodegroupName"]
        where = {"clusterName": cluster.name, "nodegroupName": name}
        if not NAME.fullmatch(name) or len(name) > 63:
            raise invalid("The nodegroupName parameter format is not valid", **where)
        if name in self._state.nodegroups(cluster):
            raise in_use(
                f"NodeGroup already exists with name {name} and cluster name {cluster.name}", **where
            )
        if parameters.get("launchTemplate"):
            if parameters.get("diskSize"):
                raise invalid("Disk size must be specified within the launch template.", **where)
            if parameters.get("remoteAccess"):
                raise invalid(
                    "Remote access configuration cannot be specified with a launch template.", **where
                )
        if any(prefix in label for label in parameters.get("labels") or {} for prefix in RESERVED):
            raise invalid(f"Label cannot contain reserved prefixes [{', '.join(RESERVED)}]", **where)
        for taint in parameters.get("taints") or []:
            if taint.get("effect") not in EFFECTS:
                raise invalid(f"The effect of a taint must be one of {', '.join(EFFECTS)}", **where)
        network.require_role(parameters.get("nodeRole"))
        if (
            network.vpc_of(self._state.region, parameters["subnets"])
            != cluster.document["resourcesVpcConfig"]["vpcId"]
        ):
            raise invalid("Subnets are not in the same VPC as the cluster", **where)
        _check_scaling(_scaling(parameters), **where)

    def _document(self, cluster: Cluster, parameters: Document) -> Document:
        name, unique = parameters["nodegroupName"], str(uuid.uuid4())
        version = parameters.get("version") or cluster.document["version"]
        template, types = parameters.get("launchTemplate"), parameters.get("instanceTypes")
        if template:
            template = network.launch_template(self._state.region, template)
            given = network.template_data(self._state.region, template).get("InstanceType")
            if given and types:
                raise invalid(
                    "Instance type must not be given in both the launch template and the API request",
                    clusterName=cluster.name,
                )
            types = types or ([] if given else ["t3.medium"])
        now = self._state.clock.now()
        return {
            "nodegroupName": name,
            "nodegroupArn": self._state.arn("nodegroup", cluster.name, name, unique),
            "clusterName": cluster.name,
            "version": version,
            "releaseVersion": parameters.get("releaseVersion") or release_of(version),
            "createdAt": now,
            "modifiedAt": now,
            "capacityType": parameters.get("capacityType") or "ON_DEMAND",
            "scalingConfig": _scaling(parameters),
            "instanceTypes": types or ["t3.medium"] if not template else types,
            "subnets": parameters["subnets"],
            "remoteAccess": parameters.get("remoteAccess"),
            "amiType": parameters.get("amiType") or "AL2023_x86_64_STANDARD",
            "nodeRole": parameters["nodeRole"],
            "labels": dict(parameters.get("labels") or {}),
            "taints": list(parameters.get("taints") or []),
            "resources": {"autoScalingGroups": [{"name": f"eks-{name}-{unique}"}]},
            "diskSize": None if template else parameters.get("diskSize") or 20,
            "updateConfig": parameters.get("updateConfig") or {"maxUnavailable": 1},
            "nodeRepairConfig": parameters.get("nodeRepairConfig"),
            "launchTemplate": template,
            "tags": dict(parameters.get("tags") or {}),
        }

    def _show(self, group: Nodegroup) -> Document:
        """As DescribeNodegroup shows it, after working out what became of instances that were asked for."""
        status = group.transition.status(self._state.clock)
        if status == "ACTIVE":
            status = self._launched(group)
        return {**group.document, "status": status, "health": {"issues": group.issues}}

    def _launched(self, group: Nodegroup) -> str:
        """A group whose first launch failed stays CREATE_FAILED. One whose scale-out failed is DEGRADED until a
        scale-out succeeds, also at size zero (github.com/aws/containers-roadmap/issues/2326).
        """
        if group.failed:
            return "CREATE_FAILED"
        if group.launching and group.document["scalingConfig"]["desiredSize"] > 0:
            group.issues = self._refusals(group)
            created = not group.updates
            group.launching = bool(group.issues)
            if group.issues and created:
                group.failed, group.launching = True, False
                return "CREATE_FAILED"
        return "DEGRADED" if group.issues else "ACTIVE"

    def _refusals(self, group: Nodegroup) -> list[Document]:
        active = self._state.faults.active()
        types = self._instance_types(group)
        refused = [t for t in types if any(f.name == "capacity" and fnmatchcase(t, f.target) for f in active)]
        asg = group.document["resources"]["autoScalingGroups"][0]["name"]
        if len(refused) == len(types):
            zones = network.zones_of(self._state.region, group.document["subnets"])
            return [_issue(asg, _no_capacity(t, zones, group.document["capacityType"])) for t in refused]
        beyond = [self._beyond_quota(group, t) for t in types]
        return [_issue(asg, text) for text in beyond if text] if all(beyond) else []

    def _beyond_quota(self, group: Nodegroup, instance_type: str) -> str | None:
        """EC2's words where the group's size in this type is more vCPUs than the account has left."""
        spot = group.document["capacityType"] == "SPOT"
        code = vcpus.quota_of(instance_type, spot=spot)
        limit = vcpus.limit_of(code, self._state.faults, self._state.settings.vcpu_quota)
        own = {
            "eks:cluster-name": group.document["clusterName"],
            "eks:nodegroup-name": group.document["nodegroupName"],
        }
        wanted = group.document["scalingConfig"]["desiredSize"] * vcpus.vcpus_of(instance_type)
        if vcpus.in_use(self._state.region, code, besides=own) + wanted <= limit:
            return None
        kind = "Spot" if spot else "On-Demand"
        return (
            f"Could not launch {kind} Instances. VcpuLimitExceeded - {vcpus.exceeded(limit)} "
            "Launching EC2 instance failed."
        )

    def _instance_types(self, group: Nodegroup) -> list[str]:
        types: list[str] = group.document["instanceTypes"]
        if types:
            return types
        data = network.template_data(self._state.region, group.document["launchTemplate"])
        return [data["InstanceType"]]

    def _names(self, group: Nodegroup) -> dict[str, Any]:
        return {
            "clusterName": group.document["clusterName"],
            "nodegroupName": group.document["nodegroupName"],
        }


def _scaling(parameters: Document) -> Document:
    wanted = parameters.get("scalingConfig") or {}
    size = {"minSize": 1, "maxSize": 2, "desiredSize": 2}
    return {**size, **wanted}


def _check_scaling(size: Document, **where: str) -> None:
    low, high, wanted = size["minSize"], size["maxSize"], size["desiredSize"]
    if high < 1 or low > high:
        raise invalid(f"Minimum capacity {low} can't be greater than maximum capacity {high}", **where)
    if wanted < low:
        raise invalid(f"Minimum capacity {low} can't be greater than desired size {wanted}", **where)
    if wanted > high:
        raise invalid(f"desired capacity {wanted} can't be greater than max size {high}", **where)


def release_of(version: str) -> str:
    """The AMI release EKS recommends for a Kubernetes minor version, e.g. 1.34.1-20260714."""
    patches = [v for v in CATALOGUE["addons"]["kube-proxy"]["versions"] if v.startswith(f"v{version}.")]
    return f"{patches[0][1:].split('-')[0]}-{RELEASE}"


def _relabel(labels: dict[str, str], change: Document) -> Document:
    changes: Document = {}
    if add := change.get("addOrUpdateLabels"):
        labels.update(add)
        changes["LabelsToAdd"] = add
    if remove := change.get("removeLabels"):
        for key in remove:
            labels.pop(key, None)
        changes["LabelsToRemove"] = remove
    return changes


def _retaint(document: Document, change: Document) -> Document:
    """Taints are told apart by key and effect."""
    changes: Document = {}
    add, remove = change.get("addOrUpdateTaints") or [], change.get("removeTaints") or []
    touched = {(t["key"], t["effect"]) for t in [*add, *remove]}
    document["taints"] = [t for t in document["taints"] if (t["key"], t["effect"]) not in touched] + add
    if add:
        changes["TaintsToAdd"] = add
    if remove:
        changes["TaintsToRemove"] = remove
    return changes


def _issue(asg: str, message: str) -> Document:
    return {"code": "AsgInstanceLaunchFailures", "message": message, "resourceIds": [asg]}


def _no_capacity(instance_type: str, zones: list[str], capacity: str) -> str:
    """EC2's words, as seen in github.com/eksctl-io/eksctl/issues/4732."""
    if capacity == "SPOT":
        return (
            "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your "
            f"request configuration ({instance_type}). Please adjust your request and try again. "
            "Launching EC2 instance failed."
        )
    others = ", ".join(zones[1:])
    choice = f" or choosing {others}" if others else ""
    return (
        "Could not launch On-Demand Instances. InsufficientInstanceCapacity - We currently do not have sufficient "
        f"{instance_type} capacity in the Availability Zone you requested ({zones[0]}). Our system will be working on "
        f"provisioning additional capacity. You can currently get {instance_type} capacity by not specifying an "
        f"Availability Zone in your request{choice}. Launching EC2 instance failed."
    )
