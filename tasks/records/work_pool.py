"""WHO runs an environment's flows: the kind of its Prefect work pool, and of a Kubernetes one the image and pod of a run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.records.record import Record

NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"


class RunPod(Record):
    """The pod of one run of a flow. It holds no GPU: terraform, helm and copies inside S3."""

    image: str = Field(
        pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$",
        description="the image of the Dockerfile, by digest: a tag would let a rescheduled run have other code",
    )
    namespace: str = Field("slipway", pattern=NAME, description="of the worker, its Jobs and its Secret")
    service_account: str = Field(
        "slipway-run", pattern=NAME, description="a Pod Identity association gives it the role"
    )
    cpu: str = Field("500m", pattern=r"^\d+m?$", description="requested; no limit is set")
    memory: str = Field("1Gi", pattern=r"^\d+(Mi|Gi)$", description="requested, and the limit")
    stop_seconds: int = Field(
        120,
        ge=30,
        le=3600,
        description="between SIGTERM and SIGKILL when a node is drained: terraform writes its state",
    )
    keep_seconds: int = Field(3600, ge=0, description="how long a finished Job and its log stay")


class WorkPool(Record):
    """`process`: `prefect worker start` on a host runs the flows as its children. `kubernetes`: a Job for each run."""

    type: Literal["process", "kubernetes"] = "process"
    pod: RunPod | None = Field(None, description="of type kubernetes, which needs it")

    @model_validator(mode="after")
    def _pod_of_its_type(self) -> Self:
        if (self.type == "kubernetes") != (self.pod is not None):
            raise ValueError("pod must be given with type: kubernetes, and with no other")
        return self
