"""EKS Pod Identity associations: which IAM role a service account's pods get."""

from __future__ import annotations

import uuid

from slipway_sandbox.aws.eks import network
from slipway_sandbox.aws.eks.state import State, in_use, not_found, require_active
from slipway_sandbox.aws.wire import Caller, Document, page

NO_ROLE = "Role provided in the request does not exist"  # hashicorp/aws asks again on these words
SUMMARY = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId")


class PodIdentity:
    """Create/Describe/Update/Delete/ListPodIdentityAssociation(s)."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create_pod_identity_association(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            cluster = self._state.cluster(parameters["clusterName"])
            require_active(cluster, self._state.clock)
            namespace, account = parameters["namespace"], parameters["serviceAccount"]
            network.require_role(parameters.get("roleArn"), NO_ROLE)
            taken = [(a["namespace"], a["serviceAccount"]) for a in cluster.associations.values()]
            if (namespace, account) in taken:
                raise in_use(
                    f"Association already exists: {namespace}/{account} in cluster {cluster.name}",
                    clusterName=cluster.name,
                )
            association_id = "a-" + uuid.uuid4().hex[:17]
            document = {
                "clusterName": cluster.name,
                "namespace": namespace,
                "serviceAccount": account,
                "roleArn": parameters["roleArn"],
                "associationArn": self._state.arn("podidentityassociation", cluster.name, association_id),
                "associationId": association_id,
                "tags": dict(parameters.get("tags") or {}),
                "createdAt": self._state.clock.now(),
                "modifiedAt": self._state.clock.now(),
                "disableSessionTags": parameters.get("disableSessionTags", False),
                "targetRoleArn": parameters.get("targetRoleArn"),
            }
            cluster.associations[association_id] = document
            return {"association": dict(document)}

    def describe_pod_identity_association(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            return {"association": dict(self._association(parameters))}

    def update_pod_identity_association(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            document = self._association(parameters)
            if "roleArn" in parameters:
                network.require_role(parameters["roleArn"], NO_ROLE)
            for key in ("roleArn", "targetRoleArn", "disableSessionTags"):
                if key in parameters:
                    document[key] = parameters[key]
            document["modifiedAt"] = self._state.clock.now()
            return {"association": dict(document)}

    def delete_pod_identity_association(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            document = self._association(parameters)
            del self._state.cluster(parameters["clusterName"]).associations[document["associationId"]]
            return {"association": document}

    def list_pod_identity_associations(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            found = {
                key: {field: a[field] for field in SUMMARY}
                for key, a in self._state.cluster(parameters["clusterName"]).associations.items()
                if all(parameters.get(k) in (None, a[k]) for k in ("namespace", "serviceAccount"))
            }
        ids, token = page(list(found), parameters)
        return {"associations": [found[key] for key in ids], "nextToken": token}

    def _association(self, parameters: Document) -> Document:
        cluster, wanted = self._state.cluster(parameters["clusterName"]), parameters["associationId"]
        if wanted not in cluster.associations:
            raise not_found(
                f"The pod identity association {wanted} could not be found in cluster {cluster.name}."
            )
        return cluster.associations[wanted]
