"""EKS clusters: created, described, changed and deleted as AWS does it; the control plane comes from the region."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway_sandbox.aws import identity
from slipway_sandbox.aws.eks import network
from slipway_sandbox.aws.eks.access import CLUSTER_ADMIN, bootstrap_entry
from slipway_sandbox.aws.eks.door import Door, DoorClosed
from slipway_sandbox.aws.eks.state import GONE, Cluster, State, in_use, invalid, not_found, require_active
from slipway_sandbox.aws.wire import AwsError, Caller, Document, page

CATALOGUE: Document = json.loads((Path(__file__).parent / "versions.json").read_text())
KUBERNETES: dict[str, str] = CATALOGUE["kubernetes"]  # minor version -> platform version
NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
LOG_TYPES = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
DELETE_SECONDS = 0.3
UPDATE_SECONDS = 0.3


class Clusters:
    """CreateCluster, DescribeCluster, ListClusters, DeleteCluster and the cluster's updates."""

    def __init__(self, state: State, door: Door) -> None:
        self._state, self._door = state, door

    def create_cluster(self, parameters: Document, caller: Caller) -> Document:
        state = self._state
        name = parameters["name"]
        with state.lock:
            self._check(parameters)
            vpc_id = network.vpc_of(state.region, parameters["resourcesVpcConfig"]["subnetIds"], zones=2)
            document = self._document(parameters, vpc_id)
            cluster = Cluster(
                document, state.until("CREATING", "ACTIVE", state.settings.cluster_boot_seconds)
            )
            cluster.interfaces = network.create_interfaces(state.region, name, document["resourcesVpcConfig"])
            if document["accessConfig"]["bootstrapClusterCreatorAdminPermissions"]:
                owner = identity.identify(caller.access_key)
                if owner:
                    bootstrap_entry(state, cluster, identity.principal_of(owner.arn), CLUSTER_ADMIN)
            state.clusters()[name] = cluster
        try:
            plane = self._door.open(name)  # outside the lock: the region reads EKS while it starts
        except DoorClosed as error:
            cluster.failure = str(error)
        else:
            cluster.endpoint, cluster.certificate_authority = plane.endpoint, plane.certificate_authority
        return {"cluster": self._show(cluster)}

    def describe_cluster(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            return {"cluster": self._show(self._state.cluster(parameters["name"]))}

    def list_clusters(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            names, token = page(list(self._state.clusters()), parameters)
        return {"clusters": names, "nextToken": token}

    def describe_cluster_versions(self, parameters: Document, caller: Caller) -> Document:
        wanted = parameters.get("clusterVersions") or list(KUBERNETES)
        rows = [
            _version(version, self._state.clock.now())
            for version in sorted(KUBERNETES, reverse=True)
            if version in wanted
        ]
        if parameters.get("defaultOnly"):
            rows = [row for row in rows if row["defaultVersion"]]
        if not parameters.get("includeAll"):
            rows = [row for row in rows if row["versionStatus"] != "UNSUPPORTED"]
        return {"clusterVersions": rows}

    def delete_cluster(self, parameters: Document, caller: Caller) -> Document:
        state = self._state
        with state.lock:
            cluster = state.cluster(parameters["name"])
            groups = state.nodegroups(cluster)
            if groups:
                raise in_use(
                    "Cluster has nodegroups attached",
                    clusterName=cluster.name,
                    nodegroupName=",".join(sorted(groups)),
                )
            if cluster.document.get("deletionProtection"):
                raise AwsError(
                    "InvalidRequestException",
                    f"Cannot delete cluster {cluster.name}: deletion protection is enabled.",
                )
            status = cluster.transition.status(state.clock)
            if status in ("DELETING", "CREATING") and not cluster.failure:
                raise in_use(
                    f"Cannot delete because cluster {cluster.name} currently has an update in progress"
                    if status == "CREATING"
                    else f"Cluster {cluster.name} is already being deleted",
                    clusterName=cluster.name,
                )
            cluster.failure = None
            cluster.transition = state.until("DELETING", GONE, DELETE_SECONDS)
            network.delete_interfaces(state.region, cluster.interfaces)
            group_id = cluster.document["resourcesVpcConfig"]["clusterSecurityGroupId"]
            network.delete_security_group(state.region, group_id)
            shown = self._show(cluster)
        try:
            self._door.close(cluster.name)
        except DoorClosed as error:
            raise AwsError("ServerException", str(error), 500, clusterName=cluster.name) from error
        return {"cluster": shown}

    def update_cluster_config(self, parameters: Document, caller: Caller) -> Document:
        """One kind of change a call, as EKS has it. Raises InvalidParameterException when nothing changes."""
        state = self._state
        with state.lock:
            cluster = self._updatable(parameters["name"])
            kind, changes = self._change(cluster, parameters)
            return {"update": self._start(cluster, kind, changes)}

    def update_cluster_version(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            cluster = self._updatable(parameters["name"])
            old, new = cluster.document["version"], parameters["version"]
            versions = list(KUBERNETES)
            if new not in versions:
                raise invalid("unsupported Kubernetes version", clusterName=cluster.name)
            if versions.index(new) - versions.index(old) not in (0, 1):
                raise invalid(
                    f"Unsupported Kubernetes minor version update from {old} to {new}",
                    clusterName=cluster.name,
                )
            cluster.document.update(version=new, platformVersion=KUBERNETES[new])
            changes = {"Version": new, "PlatformVersion": KUBERNETES[new]}
            return {"update": self._start(cluster, "VersionUpdate", changes)}

    def describe_update(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            update = self._updates(parameters).get(parameters["updateId"])
            if update is None:
                raise not_found(f"No update found for ID: {parameters['updateId']}")
            return {"update": update.show(self._state.clock)}

    def _updates(self, parameters: Document) -> dict[str, Any]:
        cluster = self._state.cluster(parameters["name"])
        if group_name := parameters.get("nodegroupName"):
            group = self._state.nodegroups(cluster).get(group_name)
            if group is None:
                raise not_found(f"No node group found for name: {group_name}.", clusterName=cluster.name)
            return group.updates
        if addon_name := parameters.get("addonName"):
            addon = self._state.addons(cluster).get(addon_name)
            if addon is None:
                raise not_found(
                    f"No addon: {addon_name} found in cluster: {cluster.name}", clusterName=cluster.name
                )
            return addon.updates
        return cluster.updates

    def _updatable(self, name: str) -> Cluster:
        cluster = self._state.cluster(name)
        require_active(cluster, self._state.clock)
        if cluster.transition.status(self._state.clock) == "UPDATING":
            raise in_use(
                f"Cannot update because cluster {name} currently has an update in progress", clusterName=name
            )
        return cluster

    def _start(self, cluster: Cluster, kind: str, changes: Document) -> Document:
        update = self._state.update(kind, changes, UPDATE_SECONDS)
        cluster.updates[update.document["id"]] = update
        cluster.transition = self._state.until("UPDATING", "ACTIVE", UPDATE_SECONDS)
        return update.show(self._state.clock)

    def _change(self, cluster: Cluster, parameters: Document) -> tuple[str, Document]:
        document = cluster.document
        if "logging" in parameters:
            document["logging"] = _logging(parameters["logging"], document["logging"])
            return "LoggingUpdate", {"ClusterLogging": parameters["logging"]}
        if vpc := parameters.get("resourcesVpcConfig"):
            if all(document["resourcesVpcConfig"].get(key) == value for key, value in vpc.items()):
                raise invalid("Cluster is already at the desired configuration", clusterName=cluster.name)
            if "subnetIds" in vpc:
                network.vpc_of(self._state.region, vpc["subnetIds"], zones=2)
            document["resourcesVpcConfig"].update(vpc)
            kind = (
                "VpcConfigUpdate"
                if {"subnetIds", "securityGroupIds"} & vpc.keys()
                else "EndpointAccessUpdate"
            )
            return kind, {key[0].upper() + key[1:]: value for key, value in vpc.items()}
        raise invalid("The type for cluster update was not provided.", clusterName=cluster.name)

    def _check(self, parameters: Document) -> None:
        name = parameters["name"]
        if not NAME.fullmatch(name):
            raise invalid("The clusterName parameter format is not valid", clusterName=name)
        if name in self._state.clusters():
            raise in_use(f"Cluster already exists with name: {name}", clusterName=name)
        version = parameters.get("version") or CATALOGUE["default"]
        if version not in KUBERNETES:
            raise invalid("unsupported Kubernetes version", clusterName=name)
        if (parameters.get("computeConfig") or {}).get("enabled"):
            raise invalid("The sandbox has no EKS Auto Mode", clusterName=name)
        network.require_role(parameters.get("roleArn"))

    def _document(self, parameters: Document, vpc_id: str) -> Document:
        state, name = self._state, parameters["name"]
        version = parameters.get("version") or CATALOGUE["default"]
        access = parameters.get("accessConfig") or {}
        vpc = parameters["resourcesVpcConfig"]
        oidc = uuid.uuid4().hex.upper()
        suffix = str(uuid.uuid4().int)[:9]
        service_cidr = (parameters.get("kubernetesNetworkConfig") or {}).get("serviceIpv4Cidr")
        return {
            "name": name,
            "arn": state.arn("cluster", name),
            "createdAt": state.clock.now(),
            "version": version,
            "platformVersion": KUBERNETES[version],
            "roleArn": parameters["roleArn"],
            "resourcesVpcConfig": {
                "subnetIds": vpc["subnetIds"],
                "securityGroupIds": vpc.get("securityGroupIds") or [],
                "clusterSecurityGroupId": network.create_cluster_security_group(
                    state.region, name, vpc_id, suffix
                ),
                "vpcId": vpc_id,
                "endpointPublicAccess": vpc.get("endpointPublicAccess", True),
                "endpointPrivateAccess": vpc.get("endpointPrivateAccess", False),
                "publicAccessCidrs": vpc.get("publicAccessCidrs") or ["0.0.0.0/0"],
            },
            "kubernetesNetworkConfig": {
                "serviceIpv4Cidr": service_cidr or "172.20.0.0/16",
                "ipFamily": (parameters.get("kubernetesNetworkConfig") or {}).get("ipFamily", "ipv4"),
                "elasticLoadBalancing": {"enabled": False},
            },
            "logging": _logging(parameters.get("logging") or {}, None),
            "identity": {"oidc": {"issuer": f"https://oidc.eks.{state.region}.amazonaws.com/id/{oidc}"}},
            "clientRequestToken": parameters.get("clientRequestToken"),
            "tags": dict(parameters.get("tags") or {}),
            "encryptionConfig": parameters.get("encryptionConfig"),
            "accessConfig": {
                "bootstrapClusterCreatorAdminPermissions": access.get(
                    "bootstrapClusterCreatorAdminPermissions", True
                ),
                "authenticationMode": access.get("authenticationMode", "CONFIG_MAP"),
            },
            "upgradePolicy": parameters.get("upgradePolicy") or {"supportType": "EXTENDED"},
            "computeConfig": {"enabled": False},  # Auto Mode, which the sandbox does not have
            "storageConfig": {"blockStorage": {"enabled": False}},
            "controlPlaneScalingConfig": {"tier": "standard"},
            # only where it was asked for: hashicorp/aws would take a given one for a change to be undone
            "zonalShiftConfig": parameters.get("zonalShiftConfig"),
            "deletionProtection": parameters.get("deletionProtection", False),
        }

    def _show(self, cluster: Cluster) -> Document:
        status = cluster.transition.status(self._state.clock)
        issues: list[Document] = []
        if cluster.failure and status != "CREATING":
            status = "FAILED"
            issues = [{"code": "InternalFailure", "message": cluster.failure, "resourceIds": [cluster.name]}]
        shown = {**cluster.document, "status": status, "health": {"issues": issues}}
        if status == "CREATING":
            shown.pop("identity")
        elif cluster.endpoint:
            shown["endpoint"] = cluster.endpoint
            shown["certificateAuthority"] = {"data": cluster.certificate_authority}
        return shown


def _version(version: str, now: datetime) -> Document:
    """One entry of DescribeClusterVersions; the shape is botocore's."""
    released, standard, extended = map(_midnight, CATALOGUE["support"][version])
    status = "STANDARD_SUPPORT" if now < standard else "EXTENDED_SUPPORT" if now < extended else "UNSUPPORTED"
    return {
        "clusterVersion": version,
        "clusterType": "eks",
        "defaultVersion": version == CATALOGUE["default"],
        "defaultPlatformVersion": KUBERNETES[version],
        "releaseDate": released,
        "endOfStandardSupportDate": standard,
        "endOfExtendedSupportDate": extended,
        "status": status.lower().replace("_", "-"),
        "versionStatus": status,
    }


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _logging(wanted: Document, before: Document | None) -> Document:
    """Both halves EKS shows: the types that are on, and those that are off."""
    on = {t for part in (before or {}).get("clusterLogging", []) if part["enabled"] for t in part["types"]}
    for part in wanted.get("clusterLogging", []):
        on = on | set(part["types"]) if part.get("enabled") else on - set(part["types"])
    halves = [
        {"types": [t for t in LOG_TYPES if (t in on) is enabled], "enabled": enabled}
        for enabled in (True, False)
    ]
    return {"clusterLogging": [half for half in halves if half["types"]]}
