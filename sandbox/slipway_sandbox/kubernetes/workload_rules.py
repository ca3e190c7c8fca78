"""What validation refuses of Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs.

Source: k8s.io/kubernetes/pkg/apis/apps/validation and pkg/apis/batch/validation.
"""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes import core_rules, names, pod_rules, selector_rules, selectors
from slipway_sandbox.kubernetes.core_rules import immutable, without
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

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
    """The selector, and whether the template's labels match it: each kind has its own words and its own order."""
    spec = object_["spec"]
    if "selector" not in spec:  # it selects nothing, so no template matches it
        missed = [] if kind == "daemonset" else [names.required("spec.selector")]
        return missed + _unmatched(spec)
    selector = spec["selector"]
    causes = selector_rules.label_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        whose = "deployment" if kind == "replicaset" else kind  # kube-apiserver copied it
        causes.append(names.bad("spec.selector", selector, f"empty selector is invalid for {whose}"))
    elif causes and kind != "daemonset":
        why = ": invalid label selector" if kind in ("deployment", "replicaset") else ""
        causes.append(Cause("spec.selector", f"Invalid value: {names.shown(selector)}{why}"))
    if causes:
        return causes
    template_labels = spec["template"]["metadata"].get("labels") or {}
    return [] if selectors.matches(selector, template_labels) else _unmatched(spec)


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
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        given = {"Type": strategy["type"], "RollingUpdate": None}
        allowed = ("Recreate", "RollingUpdate")
        causes.append(names.unsupported("spec.strategy", given, allowed))
    if strategy["type"] == "Recreate" and "rollingUpdate" in strategy:
        why = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(names.forbidden("spec.strategy.rollingUpdate", why))
    if strategy["type"] == "RollingUpdate":
        causes += _rolling(strategy["rollingUpdate"])
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


def _rolling(rolling: Object) -> list[Cause]:
    causes: list[Cause] = []
    for field in ("maxSurge", "maxUnavailable"):
        value = rolling[field]
        if isinstance(value, str) and not (value.endswith("%") and value[:-1].isdigit()):
            causes.append(names.bad(f"spec.strategy.rollingUpdate.{field}", value, names.PERCENT_WORDS))
        elif field == "maxUnavailable" and isinstance(value, str) and int(value[:-1]) > 100:
            why = "must not be greater than 100%"
            causes.append(names.bad(f"spec.strategy.rollingUpdate.{field}", value, why))
        elif isinstance(value, int) and value < 0:
            why = "must be greater than or equal to 0"
            causes.append(names.bad(f"spec.strategy.rollingUpdate.{field}", value, why))
    if all(rolling[field] in (0, "0%") for field in ("maxSurge", "maxUnavailable")):
        why = "may not be 0 when `maxSurge` is 0"
        causes.append(names.bad("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], why))
    return causes


def replica_set(new: Object, old: Object | None) -> list[Cause]:
    causes = _selector(new, "replicaset") + _template(new) + _not_negative(new, "replicas", "minReadySeconds")
    if old is not None:
        causes += immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def stateful_set(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes: list[Cause] = []
    if (policy := spec["podManagementPolicy"]) not in ("OrderedReady", "Parallel"):
        causes.append(names.bad("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    strategy = spec["updateStrategy"]
    if strategy["type"] not in ("RollingUpdate", "OnDelete"):
        given = {"Type": strategy["type"], "RollingUpdate": None}
        causes.append(names.bad("spec.updateStrategy", given, "must be 'RollingUpdate' or 'OnDelete'"))
    causes += _at_least_zero(
        strategy.get("rollingUpdate") or {}, "partition", "spec.updateStrategy.rollingUpdate"
    )
    for field, policy in spec["persistentVolumeClaimRetentionPolicy"].items():
        where = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
        causes += core_rules.one_of(where, policy, ("Retain", "Delete"))
    causes += _not_negative(new, "replicas", "minReadySeconds")
    causes += _at_least_zero(spec.get("ordinals") or {}, "start", "spec.ordinals")
    causes += _selector(new, "statefulset") + _template(new)
    for index, claim in enumerate(spec.get("volumeClaimTemplates") or []):
        causes += core_rules.claim_spec(claim["spec"], f"spec.volumeClaimTemplates[{index}].spec")
    if old is not None and without(spec, set(_STATEFUL_SET_CHANGEABLE)) != without(
        old["spec"], set(_STATEFUL_SET_CHANGEABLE)
    ):
        why = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        causes.append(names.forbidden("spec", why))
    return causes


def _at_least_zero(parent: Object, field: str, path: str) -> list[Cause]:
    value = parent.get(field, 0)
    return [] if value >= 0 else [names.bad(f"{path}.{field}", value, "must be greater than or equal to 0")]


def daemon_set(new: Object, old: Object | None) -> list[Cause]:
    causes = _selector(new, "daemonset") + _template(new)
    causes += _not_negative(new, "minReadySeconds", "revisionHistoryLimit")
    strategy = new["spec"]["updateStrategy"]
    if strategy["type"] == "RollingUpdate":
        causes += _daemon_rolling(strategy["rollingUpdate"], "spec.updateStrategy.rollingUpdate")
    elif strategy["type"] != "OnDelete":
        given = {"Type": strategy["type"], "RollingUpdate": None}
        causes.append(names.unsupported("spec.updateStrategy", given, ("RollingUpdate", "OnDelete")))
    if old is not None:
        causes += immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
    return causes


def _daemon_rolling(rolling: Object, path: str) -> list[Cause]:
    counts = {field: rolling[field] for field in ("maxUnavailable", "maxSurge")}
    causes = [cause for field, value in counts.items() for cause in _count(value, f"{path}.{field}")]
    none = {field: _number(value) == 0 for field, value in counts.items()}
    if all(none.values()):
        causes.append(names.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    elif not any(none.values()):
        why = "may not be set when maxUnavailable is non-zero"
        causes.append(names.bad(f"{path}.maxSurge", counts["maxSurge"], why))
    return causes


def _count(value: Any, path: str) -> list[Cause]:
    """A number of pods, or a share of them."""
    if isinstance(value, int):
        return [] if value >= 0 else [names.bad(path, value, "must be greater than or equal to 0")]
    return [] if _share(value) is not None else [names.bad(path, value, names.PERCENT_WORDS)]


def _share(value: str) -> int | None:
    return int(value[:-1]) if value.endswith("%") and value[:-1].isdigit() else None


def _number(value: Any) -> int:
    """What is no percentage counts as none."""
    return value if isinstance(value, int) else _share(value) or 0


def job(new: Object, old: Object | None) -> list[Cause]:
    spec = new["spec"]
    causes = _job_selector(new) if old is None else []
    causes += _not_negative(
        new, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"
    )
    modes = ("NonIndexed", "Indexed")
    if (mode := spec["completionMode"]) not in modes:
        causes.append(names.unsupported("spec.completionMode", mode, modes))
    if mode == "Indexed" and "completions" not in spec:
        causes.append(names.required("spec.completions", "when completion mode is Indexed"))
    if "backoffLimitPerIndex" in spec and mode != "Indexed":
        why = "requires indexed completion mode"
        causes.append(names.bad("spec.backoffLimitPerIndex", spec["backoffLimitPerIndex"], why))
    replacement = ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed")
    causes += core_rules.one_of("spec.podReplacementPolicy", spec["podReplacementPolicy"], replacement)
    causes += _template(new)
    for field in ("completions", "selector", "template", "completionMode", "podFailurePolicy") if old else ():
        before, after = old["spec"].get(field), spec.get(field)  # type: ignore[index]
        if field == "template" and old["spec"].get("suspend"):  # type: ignore[index]
            before, after = before["spec"]["containers"], after["spec"]["containers"]
        if before != after:
            causes.append(names.bad(f"spec.{field}", after, "field is immutable"))
    return causes


def _job_selector(job_: Object) -> list[Cause]:
    """A Job's own selector is made from its uid; one that is given must match the template all the same."""
    spec, metadata = job_["spec"], job_["metadata"]
    causes: list[Cause] = []
    if "selector" not in spec:
        causes.append(names.required("spec.selector"))
    selector = spec.get("selector") or {}
    labels = dict(sorted((spec["template"]["metadata"].get("labels") or {}).items()))
    own = {"batch.kubernetes.io/controller-uid": metadata["uid"]}
    if not spec.get("manualSelector") and selector.get("matchLabels") != own:
        causes.append(names.bad("spec.selector", selector, "`selector` not auto-generated"))
    if not spec.get("manualSelector"):
        causes += [
            Cause(
                f"spec.template.metadata.labels[{key}]",
                f"Invalid value: {names.shown(labels)}: must be '{metadata['name']}'",
            )
            for key in ("batch.kubernetes.io/job-name", "job-name")
            if labels.get(key) != metadata["name"]
        ]
    if not selector or not selectors.matches(selector, labels):
        causes += _unmatched(spec)
    return causes
