"""EKS access entries and the access policies associated with them: who may talk to a cluster's API."""

from __future__ import annotations

import uuid

from slipway_sandbox.aws import identity
from slipway_sandbox.aws.eks.state import (
    AccessEntry,
    Cluster,
    State,
    in_use,
    invalid,
    not_found,
    require_active,
)
from slipway_sandbox.aws.wire import AwsError, Caller, Document, page

POLICY = "arn:aws:eks::aws:cluster-access-policy/"
CLUSTER_ADMIN = POLICY + "AmazonEKSClusterAdminPolicy"
POLICIES = [
    POLICY + name
    for name in (
        "AmazonEKSAdminPolicy",
        "AmazonEKSAdminViewPolicy",
        "AmazonEKSAutoNodePolicy",
        "AmazonEKSClusterAdminPolicy",
        "AmazonEKSEditPolicy",
        "AmazonEKSViewPolicy",
    )
]
TYPES = ("STANDARD", "EC2_LINUX", "EC2_WINDOWS", "FARGATE_LINUX", "EC2", "HYBRID_LINUX")
NODE_USER = "system:node:{{EC2PrivateDNSName}}"


def new_entry(state: State, cluster: Cluster, principal: str, parameters: Document) -> AccessEntry:
    """The entry as DescribeAccessEntry shows it, kept in the cluster."""
    kind = parameters.get("type") or "STANDARD"
    groups, username = list(parameters.get("kubernetesGroups") or []), parameters.get("username")
    if kind == "EC2_LINUX":
        groups, username = ["system:nodes"], NODE_USER
    elif not username:
        username = _default_username(principal)
    name = principal.split(":")[-1].split("/")
    entry = AccessEntry(
        {
            "clusterName": cluster.name,
            "principalArn": principal,
            "kubernetesGroups": groups,
            "accessEntryArn": state.arn(
                "access-entry", cluster.name, name[0], principal.split(":")[4], name[-1], str(uuid.uuid4())
            ),
            "createdAt": state.clock.now(),
            "modifiedAt": state.clock.now(),
            "tags": dict(parameters.get("tags") or {}),
            "username": username,
            "type": kind,
        }
    )
    cluster.entries[principal] = entry
    return entry


def bootstrap_entry(state: State, cluster: Cluster, principal: str, policy: str) -> None:
    """The creator's own entry, cluster administrator everywhere."""
    entry = new_entry(state, cluster, principal, {})
    entry.policies[policy] = _association(state, policy, {"type": "cluster"})


def node_entry(state: State, cluster: Cluster, role: str) -> None:
    """What EKS adds for a managed node group's role, unless it is there or the mode has no entries."""
    if cluster.document["accessConfig"]["authenticationMode"] != "CONFIG_MAP" and role not in cluster.entries:
        new_entry(state, cluster, role, {"type": "EC2_LINUX"})


def _default_username(principal: str) -> str:
    if ":role/" not in principal:
        return principal
    account, name = principal.split(":")[4], principal.rsplit("/", 1)[1]
    return f"arn:aws:sts::{account}:assumed-role/{name}/{{{{SessionName}}}}"


def _association(state: State, policy: str, scope: Document) -> Document:
    now = state.clock.now()
    return {
        "policyArn": policy,
        "accessScope": {"type": scope["type"], "namespaces": scope.get("namespaces") or []},
        "associatedAt": now,
        "modifiedAt": now,
    }


class AccessEntries:
    """Create/Describe/Delete/ListAccessEntry, and access policies of an entry."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create_access_entry(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            cluster = self._cluster(parameters)
            require_active(cluster, self._state.clock)
            principal, kind = parameters["principalArn"], parameters.get("type") or "STANDARD"
            if kind not in TYPES:
                raise invalid(f"The type {kind} is not valid", clusterName=cluster.name)
            if not identity.principal_exists(principal):
                raise invalid(
                    "The specified principalArn is invalid: invalid principal.", clusterName=cluster.name
                )
            if principal in cluster.entries:
                raise in_use(
                    "The specified access entry resource is already in use on this cluster.",
                    clusterName=cluster.name,
                )
            if any(group.startswith("system:") for group in parameters.get("kubernetesGroups") or []):
                raise invalid(
                    "The kubernetes group name must not start with system:", clusterName=cluster.name
                )
            return {"accessEntry": new_entry(self._state, cluster, principal, parameters).document}

    def describe_access_entry(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            return {"accessEntry": dict(self._entry(parameters).document)}

    def delete_access_entry(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            self._entry(parameters)
            del self._cluster(parameters).entries[parameters["principalArn"]]
        return {}

    def list_access_entries(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            policy = parameters.get("associatedPolicyArn")
            entries = self._cluster(parameters).entries
            names = [arn for arn, entry in entries.items() if policy is None or policy in entry.policies]
        arns, token = page(names, parameters)
        return {"accessEntries": arns, "nextToken": token}

    def associate_access_policy(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            entry, policy, scope = self._entry(parameters), parameters["policyArn"], parameters["accessScope"]
            if policy not in POLICIES:
                raise invalid(
                    "The policyArn parameter format is not valid", clusterName=parameters["clusterName"]
                )
            if entry.document["type"] != "STANDARD":
                raise AwsError(
                    "InvalidRequestException",
                    f"Access policies cannot be associated with an access entry of type {entry.document['type']}.",
                )
            if scope["type"] == "namespace" and not scope.get("namespaces"):
                raise invalid("At least one namespace is required for the access scope type namespace.")
            entry.policies[policy] = _association(self._state, policy, scope)
            return {**self._names(parameters), "associatedAccessPolicy": entry.policies[policy]}

    def disassociate_access_policy(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            if self._entry(parameters).policies.pop(parameters["policyArn"], None) is None:
                raise not_found("The specified policyArn is not associated with the access entry.")
        return {}

    def list_associated_access_policies(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            policies = list(self._entry(parameters).policies.values())
        return {**self._names(parameters), "associatedAccessPolicies": policies}

    def _cluster(self, parameters: Document) -> Cluster:
        cluster = self._state.cluster(parameters["clusterName"])
        if cluster.document["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
            raise AwsError(
                "InvalidRequestException",
                "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] "
                "to perform this operation.",
            )
        return cluster

    def _entry(self, parameters: Document) -> AccessEntry:
        arn = parameters["principalArn"]
        entry = self._cluster(parameters).entries.get(arn)
        if entry is None:
            raise not_found(
                f"The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'. ({arn})"
            )
        return entry

    def _names(self, parameters: Document) -> Document:
        return {"clusterName": parameters["clusterName"], "principalArn": parameters["principalArn"]}
