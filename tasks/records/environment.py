"""WHERE a model runs: region, cluster, GPU nodes, add-ons. Files: environments/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.records.drills import DrillSettings
from tasks.records.errors import InputError
from tasks.records.existing import OWN_PROMETHEUS, Existing, IamSettings, PrometheusServer
from tasks.records.gpu_nodes import GpuNodes
from tasks.records.hold import Holder
from tasks.records.model import Alias
from tasks.records.quantities import Seconds
from tasks.records.record import Record
from tasks.records.tls import DEFAULT_PORT, Tls
from tasks.records.tracing import Tracing
from tasks.records.watching import WatchSettings
from tasks.records.work_pool import WorkPool


class SystemNodes(Record):
    instance_type: str = "m6i.large"
    count: int = Field(2, ge=1)


PrincipalArn = Annotated[str, Field(pattern=r"^arn:[^:]+:iam::\d{12}:(user|role)/")]


class ClusterSettings(Record):
    name: str = Field(pattern=r"^[a-z][-a-z0-9]{1,30}[a-z0-9]$")
    kubernetes_version: str = Field(
        "1.35",
        pattern=r"^1\.\d\d$",
        description="in standard support until 2027-03-27 (endoflife.date/amazon-eks, 2026-11); extended support costs 0.60 "
        "instead of 0.10 USD an hour",
    )
    vpc_cidr: str = Field("10.0.0.0/16", pattern=r"^\d+\.\d+\.\d+\.\d+/(1[6-9]|20)$")
    nat: Literal["single", "per_zone"] = "single"
    interface_endpoints: bool = Field(
        False, description="private endpoints for ECR, STS, EC2, logs, EKS auth"
    )
    public_access_cidrs: tuple[str, ...] = Field(
        (), description="who may reach the public API endpoint; none: private only"
    )
    admin_principal_arns: tuple[PrincipalArn, ...] = Field(
        (), description="IAM principals that administer the cluster"
    )
    flow_logs: Literal["rejected", "all", "off"] = Field(
        "rejected",
        description="connections that the VPC's flow logs record; all of them cost by the gigabyte",
    )
    zones: tuple[str, ...] = Field((), description="two availability zones; default: the region's first two")
    gpu: GpuNodes = GpuNodes()
    system: SystemNodes = SystemNodes()

    @model_validator(mode="after")
    def _zones_that_can_be(self) -> Self:
        """As infra/terraform/cluster/variables.tf wants them: known before anything is made."""
        if len(self.zones) not in (0, 2):
            raise ValueError("zones must name two availability zones, or none")
        return self


class ImageCache(Record):
    """ECR's pull-through cache of one registry, which every image of that registry then comes from.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache.html
    """

    prefix: str = Field("slipway", pattern=r"^[a-z0-9][a-z0-9_/-]{1,29}$", description="of its repositories")
    upstream: str = Field("registry-1.docker.io", description="the registry behind it")
    credential_arn: str | None = Field(
        None,
        pattern=r"^arn:[^:]+:secretsmanager:[^:]+:\d{12}:secret:ecr-pullthroughcache/",
        description="secret with the registry's user and token: ECR asks for one for Docker Hub",
    )

    @model_validator(mode="after")
    def _credential_where_ecr_asks(self) -> Self:
        if self.upstream == "registry-1.docker.io" and not self.credential_arn:
            raise ValueError(
                "credential_arn is needed for Docker Hub: a secret ecr-pullthroughcache/NAME with username and accessToken"
            )
        return self


class Storage(Record):
    """Buckets. Names are global in AWS: keep the account or organisation in them."""

    model_bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")
    state_bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")
    force_destroy: bool = Field(False, description="teardown may delete staged models with the bucket")
    reader_arns: tuple[str, ...] = Field(
        (), description="IAM roles of other accounts that promote from here: they may read staged models"
    )
    access_log_bucket: str | None = Field(
        None,
        description="a bucket that takes the model bucket's access logs; it lets logging.s3.amazonaws.com in",
    )
    image_cache: ImageCache | None = Field(
        None, description="pull images through a cache in ECR; default: from their own registry"
    )
    key_deletion_days: int = Field(30, ge=7, le=30, description="KMS keeps a destroyed key this long")
    secret_recovery_days: int = Field(7, ge=0, le=30, description="0: the hub token's secret goes at once")

    @field_validator("secret_recovery_days")
    @classmethod
    def _as_secrets_manager_allows(cls, days: int) -> int:
        if 0 < days < 7:
            raise ValueError("must be 0, or between 7 and 30 (a limit of Secrets Manager)")
        return days


class Addons(Record):
    """Where charts come from. Without `chart_root`, the public repositories named in k8s/addons/addons.yaml."""

    chart_root: str | None = Field(None, description="a folder of charts, from the project's root")
    extra_values: str | None = Field(
        None, description="a folder of NAME.yaml values files laid over k8s/addons/values"
    )


# what runs the gateway, and the image it comes in; LiteLLM's is of the branch that gets fixes alone (lts/1.108.x)
BACKENDS = {
    "nginx": "nginxinc/nginx-unprivileged:1.29-alpine",
    "litellm": "ghcr.io/berriai/litellm:v1.108.7",
}


class Gateway(Record):
    """The one door to the models, which checks API keys: NGINX, or LiteLLM."""

    backend: Literal["nginx", "litellm"] = Field(
        "nginx",
        description="litellm handles each request in Python, holds none for a model that sleeps and has no /v1/score",
    )
    image: str = Field(BACKENDS["nginx"], description="of the back end; default: the version that was tested")
    replicas: int = Field(1, ge=1)
    port: int = Field(8080, description="of the load balancer; with tls: 443")
    tls: Tls | None = Field(None, description="none: plain HTTP, behind an internal load balancer only")
    drain: Seconds = Field(
        5.0, description="preStop: how long load balancing may take to forget a gateway pod"
    )
    scheme: Literal["internal", "internet-facing"] = "internal"
    aliases: dict[Alias, str] = Field(
        {},
        description="other names that requests may call models by: alias -> model, before those of the models' files",
    )
    clients: tuple[str, ...] = Field(
        (),
        description="networks that may ask it; none: the VPC, and for an internet-facing one it must be said",
    )
    holder: Holder = Field(
        Holder(),
        description="holds requests for models that sleep; runs only where a model has scale_to_zero",
    )

    @model_validator(mode="before")
    @classmethod
    def _port_of_tls(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("tls") and "port" not in given:
            return {**given, "port": DEFAULT_PORT}
        return given

    @model_validator(mode="before")
    @classmethod
    def _image_of_the_backend(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "image" not in given and given.get("backend") in BACKENDS:
            return {**given, "image": BACKENDS[given["backend"]]}
        return given

    @property
    def asked_inside_by_tls(self) -> bool:
        """Whether the Jobs in the cluster ask through the load balancer. A public one is outside, behind NAT."""
        return self.tls is not None and self.scheme == "internal"

    @model_validator(mode="after")
    def _clients_are_said(self) -> Self:
        if self.scheme == "internet-facing" and not self.clients:
            raise ValueError("clients must name the networks that may ask an internet-facing gateway")
        return self


class Alerts(Record):
    """Alerting rules of Prometheus about what serves, and whom Alertmanager tells."""

    window: Seconds = Field(
        300.0, ge=1, description="how far back latencies and failed requests are looked at"
    )
    patience: Seconds = Field(
        120.0,
        ge=0,
        description="how long latencies or failures must be out of bounds; five times as long for a queue",
    )
    webhook: bool = Field(
        False,
        description="install Alertmanager, which tells the address of `slipway prefect apply --webhook`; else the rules are "
        "there, for an Alertmanager of yours",
    )


class Validation(Record):
    """The Jobs that ask the gateway from inside the cluster: readiness gate, downtime poll, load."""

    image: str = Field(
        "public.ecr.aws/docker/library/python:3.11-slim-bookworm",
        description="Python 3.11 or later; faster with uvloop, httptools and pydantic_core in it",
    )
    cpu: str = Field(
        "500m", pattern=r"^\d+m?$", description="requested for the load generator, which uses one core"
    )


class Deadlines(Record):
    """Longest waits, in seconds, for what a cloud decides. Those that depend on bytes are derived instead."""

    terraform: Seconds = 3600.0
    node_boot: Seconds = 900.0
    addon: Seconds = 600.0
    volume_bind: Seconds = 300.0
    pod_start: Seconds = Field(
        900.0,
        description="until a pod's containers run: an engine's image is 10 GB and more, and pulled on each new node",
    )
    drain: Seconds = 300.0
    gateway: Seconds = 600.0
    approval: Seconds = Field(
        86400.0, description="until somebody approves what would be done to a protected environment"
    )
    image_pull_mib_s: float = Field(
        20.0,
        gt=0,
        description="slowest pull of an image, in compressed bytes; a larger one has longer than pod_start",
    )
    cold_read_mib_s: float = Field(
        100.0, gt=0, description="slowest read of weights from a volume the start-up budget allows"
    )
    stream_mib_s: float = Field(
        100.0,
        gt=0,
        description="slowest read of weights from S3 the start-up budget allows (weights: stream); each start says what it measured",
    )


class Environment(Record):
    """One place models run in."""

    name: str = Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$")
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    account: str | None = Field(
        None, pattern=r"^\d{12}$", description="the only AWS account this environment may be made in"
    )
    requires: dict[str, str] = Field(
        {}, description="variables the shell or worker must have, each with the command that sets it"
    )
    aws_profile: str | None = Field(
        None, description="profile of the AWS configuration to use; default: whatever credentials are there"
    )
    provider_lock: bool = Field(
        True, description="take .terraform.lock.hcl of infra/terraform along, where one is committed"
    )
    cluster: ClusterSettings
    storage: Storage
    existing: Existing = Existing()
    iam: IamSettings = IamSettings()
    tags: dict[str, str] = Field({}, description="of everything that is made, besides Slipway's own")
    namespace: str = "llm"
    addons: Addons = Addons()
    gateway: Gateway = Gateway()
    validation: Validation = Validation()
    alerts: Alerts = Alerts()
    tracing: Tracing | None = Field(None, description="spans of requests, by OTLP; default: none are made")
    budget: float | None = Field(
        None,
        gt=0,
        description="USD an hour: a deploy is refused where the environment could cost more, with cluster.gpu.max nodes",
    )
    prometheus_url: str | None = Field(
        None, description="default: the cluster's own Prometheus through the Kubernetes API's service proxy"
    )
    scrape_interval: Seconds = Field(15.0, description="how often Prometheus reads vLLM's metrics")
    deadlines: Deadlines = Deadlines()
    drills: DrillSettings = DrillSettings()
    watch: WatchSettings = WatchSettings()
    work_pool: WorkPool = WorkPool()
    protected: bool = Field(
        False,
        description="a person approves promotions and teardown; teardown needs the environment's name typed too",
    )
    promote_from: str | None = Field(None, description="only what was proven in this environment may come in")

    @model_validator(mode="before")
    @classmethod
    def _node_group_in_an_existing_cluster(cls, given: Any) -> Any:
        """Choose it where the file chooses nothing: a cluster that exists has nodes, or a Karpenter, of its own."""
        sections = given if isinstance(given, Mapping) else {}
        existing, cluster = sections.get("existing"), sections.get("cluster")
        if (
            not isinstance(existing, Mapping)
            or not existing.get("cluster")
            or not isinstance(cluster, Mapping)
        ):
            return given
        gpu = cluster.get("gpu") or {}
        if not isinstance(gpu, Mapping) or gpu.get("provisioner"):
            return given
        return {**given, "cluster": {**cluster, "gpu": {**gpu, "provisioner": "node-group"}}}

    @model_validator(mode="after")
    def _cache_in_a_known_account(self) -> Self:
        if self.storage.image_cache and not self.account:
            raise ValueError("storage.image_cache needs account: the images' names contain it")
        return self

    def pulled_as(self, image: str) -> str:
        """The name nodes pull `image` by: through the image cache where there is one for its registry."""
        cache = self.storage.image_cache
        head, slash, rest = image.partition("/")
        named = bool(slash) and ("." in head or ":" in head)
        registry, name = (head, rest) if named else ("registry-1.docker.io", image)
        if registry in ("docker.io", "index.docker.io"):
            registry = "registry-1.docker.io"
        if cache is None or registry != cache.upstream:
            return image
        if registry == "registry-1.docker.io" and "/" not in name:
            name = f"library/{name}"
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com/{cache.prefix}/{name}"

    @field_validator("tags")
    @classmethod
    def _tags_that_are_free(cls, tags: dict[str, str]) -> dict[str, str]:
        taken = [key for key in tags if key == "Project" or key.startswith(("aws:", "slipway:"))]
        if taken:
            raise ValueError(f"{taken[0]} is AWS's or Slipway's own tag")
        return tags

    @model_validator(mode="after")
    def _settings_that_act(self) -> Self:
        """Refuse a setting of what is made where that is not made: it would do nothing."""
        cluster = self.cluster
        if cluster.gpu.uses_karpenter and self.existing.cluster:
            raise ValueError(
                "cluster.gpu.provisioner: karpenter is installed only in a cluster that Slipway makes: an existing one has a "
                "Karpenter of its own, or takes provisioner: node-group"
            )
        if self.tracing and self.gateway.backend == "litellm":
            raise ValueError("tracing needs gateway.backend: nginx, which gives requests their traces")
        if self.alerts.webhook and self.existing.prometheus:
            raise ValueError(
                "alerts.webhook is of the Alertmanager that Slipway installs, and existing.prometheus brings another: leave it out"
            )
        if cluster.gpu.zone and not self.existing.network and cluster.gpu.zone not in cluster.zones:
            raise ValueError("cluster.gpu.zone must be one of cluster.zones")
        strangers = [zone for zone in cluster.gpu.other_zones if zone not in cluster.zones]
        if strangers and not self.existing.network:
            raise ValueError(f"cluster.gpu.other_zones must be of cluster.zones: {strangers[0]} is not")
        of_network = ("zones", "nat", "interface_endpoints", "vpc_cidr", "flow_logs")
        of_cluster = ("public_access_cidrs", "admin_principal_arns", "kubernetes_version", "system")
        idle = (of_network if self.existing.network else ()) + (of_cluster if self.existing.cluster else ())
        given = [name for name in idle if name in cluster.model_fields_set]
        of_bucket = ("force_destroy", "reader_arns", "access_log_bucket")
        told = [name for name in of_bucket if name in self.storage.model_fields_set]
        if told and self.existing.model_bucket:
            raise ValueError(
                f"storage.{told[0]} is of a bucket that Slipway makes, and existing has one: leave it out"
            )
        if given:
            raise ValueError(
                f"cluster.{given[0]} is of what Slipway makes, and existing names another: leave it out"
            )
        return self

    @property
    def prometheus(self) -> PrometheusServer:
        """The one that scrapes vLLM and that KEDA asks."""
        return self.existing.prometheus or OWN_PROMETHEUS

    @property
    def eks_cluster(self) -> str:
        """The name of the EKS cluster: `cluster.name`, which prefixes every other name too, unless one exists."""
        return self.existing.cluster or self.cluster.name

    @property
    def address_ranges(self) -> tuple[str, ...]:
        """The VPC's. Of a VPC that exists they are known once its site is read."""
        return self.existing.address_ranges or (self.cluster.vpc_cidr,)

    def check_variables(self, variables: Mapping[str, str]) -> None:
        """Raises InputError where a variable of `requires` is not set: asking AWS without it would ask another."""
        for name, command in self.requires.items():
            if not variables.get(name):
                raise InputError(
                    f"the environment {self.name} needs the variable {name}",
                    evidence=[f"{name} is not set"],
                    next_command=command,
                )
