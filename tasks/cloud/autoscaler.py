"""What keeps KEDA's ScaledObject and its HPA from scaling a workload. Pure.

Conditions of the ScaledObject, the HPA's name and what a pause does to it: kedacore/keda v2.20.2, controllers/keda/hpa.go and
scaledobject_controller.go. AbleToScale and ScalingActive: kubernetes, pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.cloud.scaling import PAUSED
from tasks.records.errors import RolloutFailed

HPA = ("autoscaling/v2", "HorizontalPodAutoscaler")
# kube-controller-manager's --horizontal-pod-autoscaler-sync-period; EKS's default, and the longest it can be set to
# (horizontalPodAutoscalerSyncPeriod, 10 to 15 s: EKS API reference, 2026-11)
HPA_SYNC_SECONDS = 15.0
FALSE = ("0", "f", "F", "false", "False", "FALSE")  # Go's strconv.ParseBool
PAUSES = (PAUSED, "autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-scale-out")


@dataclass(frozen=True)
class Obstacle:
    """Why a workload is not scaled, as seen, and the command that shows or ends it. `final`: it does not pass by itself."""

    cause: str
    next_command: str
    evidence: tuple[str, ...] = ()
    final: bool = False

    def error(self) -> RolloutFailed:
        """The gate's failure."""
        return RolloutFailed(self.cause, evidence=list(self.evidence), next_command=self.next_command)


def obstacle_of(
    name: str, namespace: str, scaled: Object | None, autoscalers: Sequence[Object]
) -> Obstacle | None:
    """What keeps KEDA and its HPA from scaling the workload; None where nothing does. Pure.

    `autoscalers`: the HPAs of the namespace.
    """
    kubectl = f"kubectl -n {namespace}"
    describe = f"{kubectl} describe scaledobject {name}"
    if scaled is None:
        return Obstacle(f"there is no ScaledObject {name}", f"{kubectl} get scaledobject")
    if held := pauses_of(scaled):
        ends = " ".join(f"{each}-" for each in held)
        return Obstacle(
            f"the ScaledObject {name} is paused by {', '.join(held)}",
            f"{kubectl} annotate scaledobject {name} {ends}",
            final=True,
        )
    if not objects.holds(scaled, "Ready"):
        return Obstacle(f"KEDA does not call the ScaledObject {name} ready", describe, _said(scaled, "Ready"))
    own = str(objects.status(scaled).get("hpaName") or f"keda-hpa-{name}")
    aimed = [each for each in autoscalers if objects.spec(each)["scaleTargetRef"]["name"] == name]
    if others := sorted(n for each in aimed if (n := each["metadata"]["name"]) != own):
        return Obstacle(
            f"{', '.join(others)} scales the Deployment {name} beside KEDA",
            f"{kubectl} delete horizontalpodautoscaler {' '.join(others)}",
            final=True,
        )
    hpa = next((each for each in aimed if each["metadata"]["name"] == own), None)
    if hpa is None:
        return Obstacle(f"KEDA has not made the HPA {own}", describe)
    return _obstacle_of_hpa(own, kubectl, name, namespace, hpa)


def pauses_of(scaled: Object) -> list[str]:
    """The annotations that hold a ScaledObject. As in KEDA, any value but a false one pauses, and any count does."""
    notes = objects.annotations(scaled)
    return [each for each in PAUSES if each in notes and (each == PAUSED or notes[each] not in FALSE)]


def _obstacle_of_hpa(own: str, kubectl: str, name: str, namespace: str, hpa: Object) -> Obstacle | None:
    if not objects.holds(hpa, "AbleToScale"):
        return Obstacle(
            f"the HPA {own} cannot scale the Deployment {name}",
            f"{kubectl} describe hpa {own}",
            _said(hpa, "AbleToScale"),
        )
    selector = quote(f"scaledobject.keda.sh/name={name}", safe="")
    path = (
        f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/s0-prometheus?labelSelector={selector}"
    )
    if not objects.holds(hpa, "ScalingActive") or demand_of(hpa) is None:
        return Obstacle(
            f"the HPA {own} gets no demand from KEDA's metrics API: the Deployment {name} is not scaled",
            f'kubectl get --raw "{path}"',
            _said(hpa, "ScalingActive"),
        )
    return None


def demand_of(hpa: Object) -> str | None:
    """The demand a replica as the HPA last read it from the external metrics API; None where it has none."""
    for metric in objects.status(hpa).get("currentMetrics") or ():
        current = (metric.get("external") or {}).get("current") or {}
        if value := current.get("averageValue") or current.get("value"):
            return str(value)
    return None


def _said(thing: Object, kind: str) -> tuple[str, ...]:
    condition = objects.condition(thing, kind)
    if not condition:
        return (f"it has no condition {kind}",)
    return (f"{kind} {condition['status']}: {condition.get('reason', '')}: {condition.get('message', '')}",)
