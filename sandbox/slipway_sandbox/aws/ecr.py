"""ECR's pull-through cache rules, which moto lacks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from slipway_sandbox.aws.eks.state import utc_now
from slipway_sandbox.aws.wire import AwsError, Caller, Document
from slipway_sandbox.settings import ACCOUNT_ID

# docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-creating-rule.html
PUBLIC = {"public.ecr.aws": "ecr-public", "registry.k8s.io": "k8s", "quay.io": "quay"}
NEEDS_SECRET = {
    "registry-1.docker.io": "docker-hub",
    "ghcr.io": "github-container-registry",
    "registry.gitlab.com": "gitlab-container-registry",
    "nvcr.io": "nvidia-ngc",
}


class PullThroughCache:
    """Create/Describe/Update/DeletePullThroughCacheRule."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now, self._lock = now, threading.Lock()
        self._rules: dict[tuple[str, str], Document] = {}  # by (region, prefix)

    def create_pull_through_cache_rule(self, parameters: Document, caller: Caller) -> Document:
        prefix, upstream = parameters["ecrRepositoryPrefix"], parameters["upstreamRegistryUrl"]
        if upstream not in PUBLIC and upstream not in NEEDS_SECRET:
            raise AwsError(
                "UnsupportedUpstreamRegistryException",
                f"The upstream registry URL '{upstream}' is not supported",
            )
        if upstream in NEEDS_SECRET and not parameters.get("credentialArn"):
            raise AwsError(
                "InvalidParameterException",
                f"Invalid parameter at 'credentialArn' failed to satisfy constraint: 'upstream {upstream} needs one'",
            )
        with self._lock:
            if (caller.region, prefix) in self._rules:
                raise AwsError(
                    "PullThroughCacheRuleAlreadyExistsException",
                    f"A pull through cache rule with the prefix '{prefix}' already exists in the registry.",
                )
            now = self._now()
            rule = {
                "ecrRepositoryPrefix": prefix,
                "upstreamRegistryUrl": upstream,
                "upstreamRegistry": parameters.get("upstreamRegistry") or (PUBLIC | NEEDS_SECRET)[upstream],
                "registryId": ACCOUNT_ID,
                # left out, it is ROOT unsaid: hashicorp/aws replaces a rule that tells a prefix its configuration does not
                "upstreamRepositoryPrefix": parameters.get("upstreamRepositoryPrefix"),
                "credentialArn": parameters.get("credentialArn"),
                "customRoleArn": parameters.get("customRoleArn"),
                "createdAt": now,
                "updatedAt": now,
            }
            self._rules[(caller.region, prefix)] = rule
        return rule

    def describe_pull_through_cache_rules(self, parameters: Document, caller: Caller) -> Document:
        wanted = parameters.get("ecrRepositoryPrefixes")
        with self._lock:
            found = {p: rule for (region, p), rule in sorted(self._rules.items()) if region == caller.region}
        for prefix in wanted or []:
            if prefix not in found:
                raise _not_found(prefix)
        return {"pullThroughCacheRules": [found[p] for p in (wanted or found)]}

    def delete_pull_through_cache_rule(self, parameters: Document, caller: Caller) -> Document:
        with self._lock:
            rule = self._rules.pop((caller.region, parameters["ecrRepositoryPrefix"]), None)
        if rule is None:
            raise _not_found(parameters["ecrRepositoryPrefix"])
        return {key: rule[key] for key in rule if key not in ("updatedAt", "upstreamRegistry")}

    def update_pull_through_cache_rule(self, parameters: Document, caller: Caller) -> Document:
        with self._lock:
            rule = self._rules.get((caller.region, parameters["ecrRepositoryPrefix"]))
            if rule is None:
                raise _not_found(parameters["ecrRepositoryPrefix"])
            rule |= {k: parameters[k] for k in ("credentialArn", "customRoleArn") if k in parameters}
            rule["updatedAt"] = self._now()
            return {
                k: v
                for k, v in rule.items()
                if k not in ("createdAt", "upstreamRegistry", "upstreamRegistryUrl")
            }


def _not_found(prefix: str) -> AwsError:
    return AwsError(
        "PullThroughCacheRuleNotFoundException",
        f"The pull through cache rule with the prefix '{prefix}' does not exist in the registry.",
    )
