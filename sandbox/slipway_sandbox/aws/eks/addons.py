"""EKS add-ons: their catalogue of versions and configuration schemas, and their life in a cluster."""

from __future__ import annotations

import json
import uuid
from typing import Any

from slipway_sandbox.aws.eks import network
from slipway_sandbox.aws.eks.clusters import CATALOGUE
from slipway_sandbox.aws.eks.state import (
    GONE,
    Addon,
    Cluster,
    State,
    in_use,
    invalid,
    not_found,
    require_active,
)
from slipway_sandbox.aws.wire import Caller, Document, page

ADDONS: dict[str, Document] = CATALOGUE["addons"]
# Deployments: they serve nobody where no node takes their pods. The others are DaemonSets, whole on no node at all.
DEPLOYED = ("aws-ebs-csi-driver", "coredns", "snapshot-controller")
REPELS = ("NO_SCHEDULE", "NO_EXECUTE")
KINDS = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def versions_for(addon: str, kubernetes: str) -> list[str]:
    """Versions of an add-on that run on a Kubernetes minor version, newest first."""
    entry = ADDONS[addon]
    if not entry.get("follows_kubernetes"):
        return list(entry["versions"])
    return [v for v in entry["versions"] if v.startswith(f"v{kubernetes}.")]


class Addons:
    """Create/Describe/Update/Delete/ListAddon(s)."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create_addon(self, parameters: Document, caller: Caller) -> Document:
        state = self._state
        with state.lock:
            cluster = state.cluster(parameters["clusterName"])
            require_active(cluster, state.clock)
            name = parameters["addonName"]
            if name in state.addons(cluster):
                raise in_use("Addon already exists.", clusterName=cluster.name, addonName=name)
            if parameters.get("podIdentityAssociations"):
                raise invalid("The sandbox makes associations by CreatePodIdentityAssociation alone")
            version = self._version(cluster, name, parameters.get("addonVersion"))
            _check_configuration(name, parameters.get("configurationValues"))
            now = state.clock.now()
            document = {
                "addonName": name,
                "clusterName": cluster.name,
                "addonVersion": version,
                "addonArn": state.arn("addon", cluster.name, name, str(uuid.uuid4())),
                "createdAt": now,
                "modifiedAt": now,
                "serviceAccountRoleArn": parameters.get("serviceAccountRoleArn"),
                "tags": dict(parameters.get("tags") or {}),
                "configurationValues": parameters.get("configurationValues"),
            }
            addon = Addon(document, state.until("CREATING", "ACTIVE", state.settings.addon_seconds))
            state.addons(cluster)[name] = addon
            return {"addon": self._show(cluster, addon)}

    def describe_addon(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            return {"addon": self._show(*self._addon(parameters))}

    def list_addons(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            names, token = page(
                list(self._state.addons(self._state.cluster(parameters["clusterName"]))), parameters
            )
        return {"addons": names, "nextToken": token}

    def update_addon(self, parameters: Document, caller: Caller) -> Document:
        state = self._state
        with state.lock:
            cluster, addon = self._addon(parameters)
            name = parameters["addonName"]
            status = addon.transition.status(state.clock)
            if status != "ACTIVE":
                raise in_use(
                    f"Addon {name} cannot be updated as it is currently in {status} state",
                    clusterName=cluster.name,
                    addonName=name,
                )
            changes: Document = {}
            if wanted := parameters.get("addonVersion"):
                addon.document["addonVersion"] = self._version(cluster, name, wanted)
                changes["AddonVersion"] = wanted
            if "configurationValues" in parameters:
                _check_configuration(name, parameters["configurationValues"])
                addon.document["configurationValues"] = parameters["configurationValues"] or None
                changes["ConfigurationValues"] = parameters["configurationValues"]
            if resolve := parameters.get("resolveConflicts"):
                changes["ResolveConflicts"] = resolve
            update = state.update("AddonUpdate", changes, state.settings.addon_seconds)
            addon.updates[update.document["id"]] = update
            addon.document["modifiedAt"] = state.clock.now()
            addon.transition = state.until("UPDATING", "ACTIVE", state.settings.addon_seconds)
            return {"update": update.show(state.clock)}

    def delete_addon(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            cluster, addon = self._addon(parameters)
            shown = self._show(cluster, addon)
            addon.transition = self._state.until("DELETING", GONE, self._state.settings.addon_seconds)
            return {"addon": {**shown, "status": "DELETING"}}

    def _addon(self, parameters: Document) -> tuple[Cluster, Addon]:
        cluster, name = self._state.cluster(parameters["clusterName"]), parameters["addonName"]
        addon = self._state.addons(cluster).get(name)
        if addon is None:
            raise not_found(
                f"No addon: {name} found in cluster: {cluster.name}", clusterName=cluster.name, addonName=name
            )
        return cluster, addon

    def _version(self, cluster: Cluster, name: str, wanted: str | None) -> str:
        if name not in ADDONS:
            raise invalid(
                f"Addon {name} specified is not supported", clusterName=cluster.name, addonName=name
            )
        offered = versions_for(name, cluster.document["version"])
        if wanted is not None and wanted not in offered:
            raise invalid(
                "Addon version specified is not supported", clusterName=cluster.name, addonName=name
            )
        return wanted or offered[0]

    def _show(self, cluster: Cluster, addon: Addon) -> Document:
        status = addon.transition.status(self._state.clock)
        issues = self._issues(cluster, addon) if status == "ACTIVE" else []
        return {
            **addon.document,
            "status": "DEGRADED" if issues else status,
            "health": {"issues": issues},
        }

    def _issues(self, cluster: Cluster, addon: Addon) -> list[Document]:
        """What EKS reports of an add-on whose pods have nowhere to run (AddonIssueCode InsufficientNumberOfReplicas)."""
        if addon.document["addonName"] not in DEPLOYED or self._has_nodes(cluster):
            return []
        message = "The add-on is unhealthy because it doesn't have the desired number of replicas."
        return [{"code": "InsufficientNumberOfReplicas", "message": message, "resourceIds": []}]

    def _has_nodes(self, cluster: Cluster) -> bool:
        """Whether a node group has nodes, or instances have joined, that the add-ons' pods may run on.

        The add-ons tolerate CriticalAddonsOnly. What others' instances are tainted with is not known here.
        """
        for group in self._state.nodegroups(cluster).values():
            taints = group.document.get("taints") or []
            repels = any(t["effect"] in REPELS and t["key"] != "CriticalAddonsOnly" for t in taints)
            if group.document["scalingConfig"]["desiredSize"] and not group.failed and not repels:
                return True
        return network.has_joined(self._state.region, cluster.name)


def _check_configuration(name: str, text: str | None) -> None:
    """Raises InvalidParameterException for values that are no JSON (or YAML) object or that the schema does not have."""
    if not text:
        return
    try:
        values: Any = json.loads(text)
    except ValueError as error:
        raise invalid(
            f"ConfigurationValue is not in valid JSON or YAML format: {error}", addonName=name
        ) from error
    if not isinstance(values, dict):
        raise invalid("ConfigurationValue is not in valid JSON or YAML format.", addonName=name)
    schema = ADDONS[name]["configuration"]
    for key, value in values.items():
        if key not in schema:
            problem = (
                f"$.{key}: is not defined in the schema and the schema does not allow additional properties"
            )
        elif not isinstance(value, KINDS[schema[key]]):
            problem = f"$.{key}: {type(value).__name__} found, {schema[key]} expected"
        else:
            continue
        raise invalid(
            f"ConfigurationValue provided in request is not supported: Json schema validation failed with error: [{problem}]",
            addonName=name,
        )
