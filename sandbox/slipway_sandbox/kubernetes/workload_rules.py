"""What validation refuses of Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs.

Source: k8s.io/kubernetes/pkg/apis/apps/validation and pkg/apis/batch/validation.
"""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes import core_rules, names, pod_rules, selector_rules, selectors
from slipway_sandbox.kubernetes.core_rules import immutable, without
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

_POD_MANAGEMENT = ("OrderedReady", "Parallel")
_STATEFUL_SET_CHANGEABLE = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
        "revisionHistoryLimit",
    }
)


def _selector(object_: Object, kind: str) -> list[Cause]:
    """The selector, and whether the template's labels match it; `kind` is the word for it in the refusal."""
    spec = object_["spec"]
    if "selector" not in spec:  # it selects nothing, so no template matches it
        return [names.required("spec.selector"), *_unmatched(spec)]
    selector = spec["selector"]
    causes = selector_rules.label_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        causes.append(names.bad("spec.selector", selector, f"empty selector is invalid for {kind}"))
    template_labels = spec["template"]["metadata"].get("labels") or {}
    return causes if causes or selectors.matches(selector, template_labels) else _unmatched(spec)


def _unmatched(spec: Object) -> list[Cause]:
    labels = spec["template"]["metadata"].get("labels")
    labels = dict(sorted(labels.items())) if labels else None
    return [names.bad("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")]


def _template(object_: Object) -> list[Cause]:
    template, kind = object_["spec"]["template"], object_["kind"]
    metadata = template["metadata"]
    causes = names.labels("spec.template.labels", metadata.get("labels") or {})
    causes += names.annotation_sizes("spec.template.annotations", metadata.get("annotations") or {})
    causes += pod_rules.pod_spec(template["spec"], "spec.template.spec")
    path, policy = "spec.template.spec.restartPolicy", template["spec"]["restartPolicy"]
    if kind == "Job":
        if policy not in ("OnFailure", "Never"):
            causes.append(names.required(path, 'valid values: "OnFailure", "Never"'))
        return causes
    if policy in ("OnFailure", "Never"):
        causes.append(names.unsupported(path, policy, ("Always",)))
    if "activeDeadlineSeconds" in template["spec"]:
        whose = "ReplicaSet" if kind == "Deployment" else kind
        why = f"activeDeadlineSeconds in {whose} is not Supported"
        causes.append(names.forbidden("spec.template.spec.activeDeadlineSeconds", why))
    return causes


def _not_negative(object_: Object, *fields: str) -> list[Cause]:
    spec = object_["spec"]
    return [
        names.bad(f"spec.{field}", spec[field], "must be greater than or equal to 0")
        for field in fields
        if isinstance(spec.get(field), int) and spec[field] < 0
    ]


def deployment(new: Object, old: Object | None) -> list[Cause]:
    causes = _selector(new, "deployment") + _template(new)
    causes += _not_negative(
        new, "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"
    )
    strategy = new["spec"]["strategy"]
    causes += _kind_of_strategy(strategy, "spec.strategy", ("Recreate", "RollingUpdate"))
    if strategy["type"] == "Recreate" and "rollingUpdate" in strategy:
        why = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(names.forbidden("spec.strategy.rollingUpdate", why))
    if strategy["type"] == "RollingUpdate":
        none = "may not be 0 when `maxSurge` is 0"
        causes += _rolling(strategy["rollingUpdate"], "spec.strategy.rollingUpdate", none)
    if new["spec"]["progressDeadlineSeconds"] <= new["spec"].get("minReadySeconds", 0):
        causes.append(
            names.bad(
                "spec.progressDeadlineSeconds",
                new["spec"]["progressDeadlineSeconds"],
                "must be greater than minReadySeconds",
            )
        )
    if old is not None:
        causes += immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def _kind_of_strategy(strategy: Object, path: str, allowed: tuple[str, ...]) -> list[Cause]:
    if strategy["type"] in allowed:
        return []
    return [names.unsupported(path, {"Type": strategy["type"], "RollingUpdate": None}, allowed)]


def _rolling(rolling: Object, path: str, none: str) -> list[Cause]:
    """How many pods may be missing or too many during an update; both may not be zero, for which `none` is the refusal."""
    counts = {field: rolling[field] for field in ("maxUnavailable", "maxSurge")}
    causes = [cause for field, value in counts.items() for cause in _count(value, f"{path}.{field}")]
    share = counts["maxUnavailable"]
    if isinstance(share, str) and (_share(share) or 0) > 100:
        causes.append(names.bad(f"{path}.maxUnavailable", share, "must not be greater than 100%"))
    if not causes and all(value in (0, "0%") for value in counts.values()):
        causes.append(names.bad(f"{path}.maxUnavailable", share, none))
    return causes


def replica_set(new: Object, old: Object | None) -> list[Cause]:
    causes = _selector(new, "replicaset") + _template(new) + _not_negative(new, "replicas", "minReadySeconds")
    if old is not None:
        causes += immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def stateful_set(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes = core_rules.one_of("spec.podManagementPolicy", spec["podManagementPolicy"], _POD_MANAGEMENT)
    causes += _not_negative(new, "replicas", "minReadySeconds")
    causes += _selector(new, "statefulset") + _template(new)
    for index, claim in enumerate(spec.get("volumeClaimTemplates") or []):
        causes += core_rules.claim_spec(claim["spec"], f"spec.volumeClaimTemplates[{index}].spec")
    changeable = set(_STATEFUL_SET_CHANGEABLE)
    if old is not None and without(spec, changeable) != without(old["spec"], changeable):
        why = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        causes.append(names.forbidden("spec", why))
    return causes


def daemon_set(new: Object, old: Object | None) -> list[Cause]:
    causes = _selector(new, "daemonset") + _template(new)
    causes += _not_negative(new, "minReadySeconds", "revisionHistoryLimit")
    strategy = new["spec"]["updateStrategy"]
    causes += _kind_of_strategy(strategy, "spec.updateStrategy", ("RollingUpdate", "OnDelete"))
    if strategy["type"] == "RollingUpdate":
        none = "cannot be 0 when maxSurge is 0"
        causes += _rolling(strategy["rollingUpdate"], "spec.updateStrategy.rollingUpdate", none)
    if old is not None:
        causes += immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def _count(value: Any, path: str) -> list[Cause]:
    """A number of pods, or a share of them."""
    if isinstance(value, int):
        return [] if value >= 0 else [names.bad(path, value, "must be greater than or equal to 0")]
    return [] if _share(value) is not None else [names.bad(path, value, names.PERCENT_WORDS)]


def _share(value: str) -> int | None:
    return int(value[:-1]) if value.endswith("%") and value[:-1].isdigit() else None


def job(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes = _job_selector(new) if old is None else []
    causes += core_rules.one_of("spec.completionMode", spec["completionMode"], ("NonIndexed",))
    if spec["suspend"]:
        causes.append(names.forbidden("spec.suspend", "suspended jobs are not emulated"))
    causes += _not_negative(
        new, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"
    )
    causes += _template(new)
    for field in ("completions", "selector", "template", "completionMode", "podFailurePolicy") if old else ():
        if (after := spec.get(field)) != old["spec"].get(field):  # type: ignore[index]
            causes.append(names.bad(f"spec.{field}", after, "field is immutable"))
    return causes


def _job_selector(job_: Object) -> list[Cause]:
    """A Job's selector is made from its uid; one that is given is refused."""
    own = {"batch.kubernetes.io/controller-uid": job_["metadata"]["uid"]}
    selector = job_["spec"].get("selector") or {}
    if selector.get("matchLabels") == own:
        return []
    return [names.bad("spec.selector", selector, "`selector` not auto-generated")]
