"""Tags of everything EKS has an ARN for."""

from __future__ import annotations

from collections.abc import Iterator

from slipway_sandbox.aws.eks.state import State
from slipway_sandbox.aws.wire import AwsError, Caller, Document


class Tags:
    """TagResource, UntagResource, ListTagsForResource."""

    def __init__(self, state: State) -> None:
        self._state = state

    def tag_resource(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            self.of(parameters["resourceArn"]).update(parameters["tags"])
        return {}

    def untag_resource(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            tags = self.of(parameters["resourceArn"])
            for key in parameters["tagKeys"]:
                tags.pop(key, None)
        return {}

    def list_tags_for_resource(self, parameters: Document, caller: Caller) -> Document:
        with self._state.lock:
            return {"tags": dict(self.of(parameters["resourceArn"]))}

    def of(self, arn: str) -> dict[str, str]:
        """The live tags. Raises NotFoundException."""
        for found, _, tags in self.resources():
            if found == arn:
                return tags
        raise AwsError("NotFoundException", f"Resource {arn} was not found", 404)

    def resources(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """(ARN, type as the tagging API names it, live tags)."""
        for cluster in self._state.clusters().values():
            yield cluster.document["arn"], "eks:cluster", cluster.document["tags"]
            for group in self._state.nodegroups(cluster).values():
                yield group.document["nodegroupArn"], "eks:nodegroup", group.document["tags"]
            for addon in self._state.addons(cluster).values():
                yield addon.document["addonArn"], "eks:addon", addon.document["tags"]
            for entry in cluster.entries.values():
                yield entry.document["accessEntryArn"], "eks:access-entry", entry.document["tags"]
            for association in cluster.associations.values():
                yield association["associationArn"], "eks:podidentityassociation", association["tags"]
