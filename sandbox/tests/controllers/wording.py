"""The scheduler's words, by the version of the control plane that speaks them."""

from __future__ import annotations

import re

from slipway_sandbox.apiclient import ApiClient

# Ours speaks as 1.33 does; by 1.36 these are said otherwise.
_LATER = (
    (r"untolerated taint \{[^}]*\}", "untolerated taint(s)"),
    (r"node\(s\) had volume node affinity conflict", "node(s) didn't match PersistentVolume's node affinity"),
    (
        "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
        "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
    ),
    # Where a claim keeps every node out, the plugin of dynamic resources is asked first, and knows nothing of the pod.
    (r"(available: (?:pod has|persistentvolumeclaim|PVC) [^.]*\. ).*", r"\1not found"),
    (r"\. preemption: ", ". no new claims to deallocate, preemption: "),
)


async def words(client: ApiClient, message: str) -> str:
    """A message of 1.33 in the words of the control plane's own version."""
    version = await client.request("GET", "/version")
    if int(version["minor"].rstrip("+")) > 33:
        for pattern, later in _LATER:
            message = re.sub(pattern, later, message)
    return message
