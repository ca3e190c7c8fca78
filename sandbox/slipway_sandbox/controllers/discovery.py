"""What the API serves: needed where a controller must reach kinds it has never heard of."""

from __future__ import annotations

from slipway_sandbox.apiclient import ApiClient, ApiError
from slipway_sandbox.controllers.objects import Object, Resource

# Remarks about objects, served under two groups: never collected, never a reason to wait (garbagecollector ignores them).
IGNORED = frozenset({("v1", "events"), ("events.k8s.io/v1", "events")})


async def discover(client: ApiClient, verbs: frozenset[str]) -> list[Resource]:
    """Collections that allow all of these verbs, each in its group's preferred version. Raises ApiError."""
    versions = ["v1"]
    for group in (await client.request("GET", "/apis"))["groups"]:
        preferred = group.get("preferredVersion") or group["versions"][0]
        versions.append(preferred["groupVersion"])
    found: list[Resource] = []
    for version in versions:
        root = "/api" if "/" not in version else "/apis"
        try:
            document: Object = await client.request("GET", f"{root}/{version}")
        except ApiError as error:
            if error.code == 404:  # its definition went between the two requests
                continue
            raise
        for entry in document["resources"]:
            allowed = verbs <= set(entry.get("verbs") or [])
            if "/" not in entry["name"] and allowed and (version, entry["name"]) not in IGNORED:
                found.append(Resource(version, entry["name"], entry["kind"], bool(entry["namespaced"])))
    return found
