"""A model's file (models/*.yaml): source, engine, resources, cache, objectives, load, scaling, rollout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError
from pydantic import BeforeValidator, Field, field_validator, model_validator

from tasks.records.answers import AnswersProof
from tasks.records.cache import LOADING, Cache, Stream
from tasks.records.chat_template import of_repo
from tasks.records.load import Load
from tasks.records.objectives import Objectives
from tasks.records.pairs import PairSettings
from tasks.records.quantities import Quantity, Seconds, parse_quantity
from tasks.records.questions import GENERATING, ROUTES, Route, Task
from tasks.records.record import Record
from tasks.records.starts import Budgeted
from tasks.records.strategy import Asked, Strategy, asked_for
from tasks.records.variables import checked_variables

# as names of models are written on the hub and in OpenAI's API
Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,95}$")]


class Source(Record):
    """Where the weights come from on the hub."""

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="organisation/name on the Hugging Face Hub")
    revision: str = Field(
        "main", description="branch, tag or commit; pinned to a commit sha before anything runs"
    )
    allow: tuple[str, ...] = Field((), description="only files matching one of these patterns (default: all)")
    ignore: tuple[str, ...] = Field((), description="never files matching one of these patterns")
    follow: bool = Field(
        False,
        description="`slipway watch` takes new commits of revision through the environment's policy to a proof",
    )

    @model_validator(mode="after")
    def _follows_what_moves(self) -> Self:
        if self.follow and re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError("source.follow: revision is a commit, which never moves: name a branch or a tag")
        return self


class Lora(Record):
    """A LoRA adapter of the model, staged beside it and served under a name of its own (--lora-modules)."""

    name: Alias = Field(description="what requests call it by")
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="organisation/name on the Hugging Face Hub")
    revision: str = Field(
        "main", description="branch, tag or commit; pinned to a commit before anything runs"
    )
    base: str | None = Field(
        None,
        description="what its adapter_config.json calls its base, where that is another name for the same weights; "
        "default: source.repo",
    )


class Engine(Record):
    """vLLM's flags, under vLLM's names. https://docs.vllm.ai/en/latest/cli/serve/"""

    image: str = Field(
        "vllm/vllm-openai:v0.32.0",
        description="a tag, resolved to its digest when it is deployed, or a digest",
    )
    task: Task = Field(
        "generate", description="generate: text; embed: vectors; score: pairs of texts (rerankers)"
    )
    max_model_len: int = Field(8192, gt=0, description="tokens a request may use, prompt and answer")
    gpu_memory_utilization: float = Field(0.90, gt=0, lt=1)
    tensor_parallel_size: int = Field(1, ge=1, le=16)
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    quantization: str | None = None
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    max_num_seqs: int = Field(128, ge=1)
    trust_remote_code: bool = Field(
        False, description="runs code from the repo: leave off unless you read it"
    )
    chat_template: str | None = Field(
        None,
        min_length=1,
        description="a file below the project's folder, or repo:FILE of the model's repo; default: the repo's own",
    )
    drain: Seconds = Field(5.0, description="preStop: time for load balancing to forget a pod")
    shutdown_timeout: Seconds = Field(30.0, description="time for streams in flight to end after SIGTERM")
    lora: tuple[Lora, ...] = Field((), description="LoRA adapters of this model")
    max_loras: int = Field(1, ge=1, description="adapters that one batch may mix, where there are any")
    max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = Field(
        16, description="the highest rank of an adapter, where there are any"
    )
    extra_args: tuple[str, ...] = Field((), description="further vLLM flags, as --flag=value")
    env: Annotated[dict[str, str], BeforeValidator(checked_variables)] = Field(
        {}, description="variables of vLLM's container, as VLLM_LOGGING_LEVEL: DEBUG; no secrets"
    )


class Resources(Record):
    """Requests of one replica; the memory limit equals the request, and CPU has no limit."""

    cpu: Quantity = "3"
    memory: Quantity = "12Gi"
    gpu: int = Field(1, ge=1, le=16)
    ephemeral_storage: Quantity | None = Field(
        None,
        description="room on the node's own disk, for compile caches and logs (not the image); default: none is reserved",
    )


class WakeTime(Record):
    """When a sleeping model is woken, before its users come."""

    cron: str = Field(
        pattern=r"^\S+( \S+){4}$", description="minute, hour, day, month, weekday: 30 7 * * mon-fri"
    )
    timezone: str = Field("UTC", description="of the tz database: Europe/Berlin")

    @field_validator("cron")
    @classmethod
    def _is_a_time(cls, cron: str) -> str:
        try:
            CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(f"{cron} names no time: {error}") from error
        return cron

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"there is no timezone {name}")
        return name


class Steps(Record):
    """A scaling policy of the HPA: at most so many replicas more, or fewer, in a period.

    Limits of period and windows: kubernetes release-1.27, pkg/apis/autoscaling/validation (1800 s and 3600 s).
    """

    replicas: int = Field(ge=1, le=100, description="changed within `every` at most")
    every: Seconds = Field(ge=1, le=1800, description="the policy's period")


class ScaleUp(Steps):
    """How fast replicas are added. The defaults add four in 15 s, at once."""

    replicas: int = Field(4, ge=1, le=100, description="added within `every` at most")
    every: Seconds = Field(15.0, ge=1, le=1800, description="the policy's period")
    window: Seconds = Field(
        0.0, le=3600, description="demand must stay above the target for so long before replicas are added"
    )


class Scaling(Record):
    """Bounds of KEDA's scaling, how demand is counted, and when a model counts as idle."""

    min_replicas: int = Field(
        1, ge=1, description="zero is left to the idle flow: without replicas vLLM has no metrics for KEDA"
    )
    max_replicas: int = Field(1, ge=1)
    requests_per_replica: int = Field(
        16, ge=1, description="KEDA's target: demand a replica; one running request counts `running_weight`"
    )
    running_weight: float = Field(1.0, ge=0, le=1000, description="demand of a running request")
    waiting_weight: float = Field(
        10.0, ge=0, le=1000, description="demand of a waiting request: a queue means that replicas lack"
    )
    activation: float = Field(
        0.0, ge=0, description="KEDA calls the model active above this demand; it does not change the count"
    )
    polling: Seconds | None = Field(
        None,
        ge=1,
        le=300,
        description="KEDA asks Prometheus so often and the HPA reads the last answer; default: at each look of the HPA",
    )
    scale_up: ScaleUp = ScaleUp()
    scale_down: Steps = Field(
        Steps(replicas=1, every=60.0), description="how fast replicas are removed once `cooldown` is over"
    )
    cooldown: Seconds = Field(
        300.0,
        le=3600,
        description="replicas stay for so long after the load is gone: the HPA's scale-down window",
    )
    idle_after: Seconds = Field(1200.0, description="idle after so long without requests, queue and GPU use")
    scale_to_zero: bool = Field(
        False,
        description="a request wakes the model and is held meanwhile; default: `slipway wake` alone does",
    )
    start_budget: dict[Budgeted, Seconds] = Field(
        {},
        description="longest each phase of a start may take, and `whole`; a start over it is told with its phase",
    )
    wake: WakeTime | None = Field(
        None, description="when every environment that has the model wakes it; default: by hand"
    )
    idle_gpu_utilization: float = Field(
        5.0, ge=0, le=100, description="percent: GPU use below it counts as none"
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        if not self.running_weight and not self.waiting_weight:
            raise ValueError("running_weight and waiting_weight are both 0: no demand would ever be counted")
        return self


class HowToRollOut(Record):
    """How a new release replaces the one that serves."""

    strategy: Annotated[Asked, BeforeValidator(asked_for)] = Field(
        Strategy.AUTO,
        description="auto: surge where a GPU is free, else recreate; the others are refused where GPUs lack",
    )
    canary: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of several replicas that is replaced first; default: one replica, 0: none",
    )
    pairs: PairSettings | None = Field(
        None,
        description="before traffic moves, ask both releases the golden prompts in pairs: blue-green where GPUs are free for it",
    )


class Model(Record):
    """One model, and how it is served."""

    name: str = Field(
        pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$",
        description="the served model name; resources in the cluster are named for it",
    )
    aliases: tuple[Alias, ...] = Field(
        (), description="other names that requests may call it by; gateway.aliases of an environment wins"
    )
    source: Source
    engine: Engine = Engine()
    images: bool | None = Field(
        None,
        description="whether the gate asks about an image; default: where the repo has an encoder of images",
    )
    resources: Resources = Resources()
    weights: Literal["volume", "stream", "auto"] = Field(
        "volume",
        description="volume: from an EBS volume that is warmed before; stream: from S3, by each replica as it starts; "
        "auto: preflight chooses and says why",
    )
    cache: Cache = Cache()
    stream: Stream = Stream()
    objectives: Objectives = Objectives()
    load: Load
    answers: AnswersProof | None = Field(
        None, description="golden prompts asked after the load; {} for Slipway's own; default: none are asked"
    )
    scaling: Scaling = Scaling()
    rollout: HowToRollOut = HowToRollOut()

    @model_validator(mode="before")
    @classmethod
    def _replicas_are_of_the_scaling(cls, given: Any) -> Any:
        if isinstance(given, dict) and "replicas" in given:
            raise ValueError("replicas: the counts are scaling.min_replicas and scaling.max_replicas")
        return given

    @model_validator(mode="after")
    def _restores_what_is_cloned(self) -> Self:
        if self.cache.restore != "lazy" and not self.wants_snapshot:
            raise ValueError(f"cache.restore: {self.cache.restore} is for clones, and no snapshot is taken")
        return self

    @model_validator(mode="after")
    def _streams_what_can_be_streamed(self) -> Self:
        if self.weights == "stream" and (cannot := self.cannot_stream()):
            raise ValueError(f"weights: stream {cannot}")
        return self

    @model_validator(mode="after")
    def _adapters_have_names_of_their_own(self) -> Self:
        names = [lora.name for lora in self.engine.lora]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"engine.lora has two adapters of the name {name}")
            if name == self.name or name in self.aliases:
                raise ValueError(f"engine.lora: {name} is a name of the model itself")
        return self

    @model_validator(mode="after")
    def _load_is_of_the_task(self) -> Self:
        task, load = self.engine.task, self.load
        if load.endpoint and load.endpoint not in ROUTES[task]:
            raise ValueError(
                f"load.endpoint {load.endpoint} is none of engine.task {task}: {', '.join(ROUTES[task])}"
            )
        if self.route in GENERATING and load.texts > 1:
            raise ValueError(f"load.texts is for embeddings, score and rerank, not for {self.route}")
        if task == "generate":
            return self
        if "output_tokens" in load.model_fields_set:
            raise ValueError(f"engine.task {task} generates no tokens: leave load.output_tokens out")
        if load.prompts and self.route != "embeddings":
            raise ValueError(f"load.prompts holds single texts, and {self.route} takes a query and documents")
        return self

    @model_validator(mode="after")
    def _generated_answers_are_of_a_chat(self) -> Self:
        if self.rollout.pairs and self.route == "completions":
            raise ValueError(
                "rollout.pairs: golden prompts are asked as chat completions, and the load asks completions"
            )
        if self.answers and self.route == "completions":
            raise ValueError(f"answers are asked as chat completions, and the load asks {self.route}")
        return self

    @model_validator(mode="after")
    def _objectives_are_measured(self) -> Self:
        names = self.objectives.streamed
        if self.engine.task != "generate":
            if self.objectives.output_tokens_per_second is not None:
                names.append("output_tokens_per_second")
            if names:
                raise ValueError(
                    f"engine.task {self.engine.task} generates no tokens: nothing is measured for {', '.join(names)}; "
                    "e2e, each.e2e, goodput, errors and requests_per_second are"
                )
        if not self.load.streaming and names:
            raise ValueError(f"without load.streaming nothing is measured for {', '.join(names)}")
        return self

    def with_image(self, image: str) -> Model:
        """The model with another engine image."""
        return self.model_copy(update={"engine": self.engine.model_copy(update={"image": image})})

    def with_sequences(self, most: int) -> Model:
        """The model with another max_num_seqs."""
        return self.model_copy(update={"engine": self.engine.model_copy(update={"max_num_seqs": most})})

    def with_chat_template(self, text: str) -> Model:
        """The model with this chat template."""
        return self.model_copy(update={"engine": self.engine.model_copy(update={"chat_template": text})})

    def with_weights(self, how: Literal["volume", "stream"]) -> Model:
        """The model with its weights from a volume, or streamed."""
        return self.model_copy(update={"weights": how})

    def cannot_stream(self) -> str:
        """Why its weights cannot be streamed; "" where they can."""
        if self.engine.lora:
            return "is for a model without adapters: vLLM reads those from a folder"
        if of_repo(self.engine.chat_template):
            return "leaves no file of the repo for engine.chat_template: name a file of the project"
        if self.cache.snapshot == "always" or self.cache.restore != "lazy":
            return "has no volume: leave cache.snapshot and cache.restore out"
        if any(word.partition("=")[0] in LOADING for word in self.engine.extra_args):
            return f"sets the loader itself: leave {' and '.join(LOADING)} out of engine.extra_args"
        ranks = self.engine.tensor_parallel_size
        if parse_quantity(self.stream.memory) * ranks >= parse_quantity(self.resources.memory):
            each = f" for each of {ranks} ranks" if ranks > 1 else ""
            return (
                f"has too little memory: stream.memory {self.stream.memory}{each} is a part of resources.memory, "
                f"{self.resources.memory}"
            )
        return ""

    def with_adapters(self, commits: Sequence[str]) -> Self:
        """The model with its adapters at these commits, in the file's order."""
        pinned = tuple(
            lora.model_copy(update={"revision": commit})
            for lora, commit in zip(self.engine.lora, commits, strict=True)
        )
        return self.model_copy(update={"engine": self.engine.model_copy(update={"lora": pinned})})

    @property
    def route(self) -> Route:
        """What of the engine is asked, by gate and load."""
        return self.load.endpoint or ROUTES[self.engine.task][0]

    def asked_by(self, route: Route) -> Self:
        """The model with `route` where its file names none: what a repo without a chat template is asked by."""
        if self.load.endpoint or route not in ROUTES[self.engine.task]:
            return self
        return self.model_copy(update={"load": self.load.model_copy(update={"endpoint": route})})

    def asked_about_images(self) -> Self:
        """The model, asked about an image where its file does not say otherwise."""
        return self.model_copy(update={"images": True}) if self.images is None else self

    @property
    def asked_load(self) -> Load:
        """The load with its endpoint named."""
        return self.load.model_copy(update={"endpoint": self.route, "streaming": self.streams})

    @property
    def streams(self) -> bool:
        """Whether the load's answers come token by token."""
        return self.load.streaming and self.route in GENERATING

    @property
    def wants_snapshot(self) -> bool:
        """Whether the warmed volume is snapshotted. Each of several replicas starts on a clone of the snapshot."""
        if self.weights == "stream":
            return False
        if self.cache.snapshot == "auto":
            return self.scaling.max_replicas > 1
        return self.cache.snapshot == "always"
