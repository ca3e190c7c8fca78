"""How requests for sleeping models are held: settings of an environment, and what the holder is told of each model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.records.quantities import Quantity, Seconds, parse_quantity
from tasks.records.record import Record

# NGINX's client_max_body_size (k8s/gateway/configmap.yaml)
LARGEST_BODY = 16 * 2**20


class Holder(Record):
    """The service that wakes models with `scaling.scale_to_zero` and holds their requests meanwhile."""

    image: str | None = Field(
        None,
        pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$",
        description="the image of the Dockerfile, by digest; default: work_pool.pod.image",
    )
    wake: Literal["scale", "flow"] = Field(
        "scale",
        description="scale: replicas by the Kubernetes API, nodes by Karpenter; flow: a run of slipway-wake, which a node "
        "group needs",
    )
    prefect_api_url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="of wake: flow, as the holder's pod reaches it"
    )
    prefect_secret: str | None = Field(
        None,
        description="a Secret in the models' namespace whose entry `authorization` is sent to Prefect's API as that header",
    )
    heartbeat: Seconds = Field(
        10.0,
        gt=0,
        le=15,
        description="longest silence on a held connection; the status is sent with the first",
    )
    requests: int = Field(
        256, ge=1, le=10_000, description="held at once for one model; more are refused: 429"
    )
    body_memory: Quantity = Field("256Mi", description="bodies of all held requests; more are refused: 429")
    longest: Seconds = Field(
        1800.0, gt=0, le=7200, description="a request is held so long at most, then refused: 503"
    )
    ramp: Seconds = Field(
        10.0, ge=0, le=600, description="after Ready, from a quarter of the proven rate to all of it"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.wake == "flow") != (self.prefect_api_url is not None):
            raise ValueError("prefect_api_url must be given with wake: flow, and not with wake: scale")
        if parse_quantity(self.body_memory) < LARGEST_BODY:
            raise ValueError(f"body_memory must hold one body, which may have {LARGEST_BODY // 2**20} MiB")
        return self


class HeldModel(Record):
    """A model that may sleep, as the holder knows it.

    Args:
        rate: requests a second that its load validation proves; None where its load names none.
        slots: requests one replica is given at a time.
        replicas: to wake it to.
        others: names besides its own that vLLM knows it by.
    """

    rate: float | None = Field(gt=0)
    slots: int = Field(ge=1)
    replicas: int = Field(ge=1)
    others: tuple[str, ...] = ()


class HolderSettings(Record):
    """What the holder's program reads: its part of the environment, and the models."""

    environment: str
    namespace: str
    heartbeat: float
    requests: int
    body_bytes: int
    longest: float
    ramp: float
    prefect_api_url: str | None = None
    models: dict[str, HeldModel]
