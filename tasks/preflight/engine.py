"""The rows about the engine: its flags, its GPU, its ranks, the model's architecture, memory and context. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tasks.preflight.architecture import judge_architecture
from tasks.preflight.arguments import CommandLine, Settings, settings_of
from tasks.preflight.config import Config, Unsaid, read_config
from tasks.preflight.context import ALLOW_LONGER, NOT_SCALED, judge_context, length_of
from tasks.preflight.dtypes import judge_dtype, served_dtype
from tasks.preflight.engine_models import EngineModels, models_of
from tasks.preflight.flags import FlagTable, Given, flags_of, given, lint, versions
from tasks.preflight.gpus import Gpu, gpu_of, least_capability, shown
from tasks.preflight.images import vllm_version
from tasks.preflight.lint import judge_draft, judge_values, judge_variables
from tasks.preflight.memory import Plan, plan
from tasks.preflight.nodes import InstanceType
from tasks.preflight.quantization import judge_quantization, quantization_of
from tasks.preflight.ranks import judge_ranks
from tasks.preflight.remedies import remedy
from tasks.preflight.repository import judge_repo, judge_tokenizer
from tasks.preflight.rows import Row, Verdict, row_of
from tasks.preflight.weights import share
from tasks.records.chat_template import of_repo
from tasks.records.model import Model
from tasks.records.quantities import human_bytes
from tasks.records.results import HubInspection

Document = Mapping[str, Any]
LATEST = "0.32.0"  # whose rules are followed where the image's version is not known


def container_of(documents: Sequence[Document]) -> tuple[Document, Document]:
    """The serving pod's spec and its vLLM container."""
    for document in documents:
        pod = ((document.get("spec") or {}).get("template") or {}).get("spec") or {}
        for container in pod.get("containers") or ():
            if container["name"] == "vllm":
                return pod, container
    raise ValueError("no document has a vllm container")


def table_of(image: str) -> tuple[FlagTable | None, str]:
    """The flags of the image's vLLM; None, and why nothing can be said."""
    version = vllm_version(image)
    if version is None:
        return None, f"not checked: the name {image} does not say which vLLM it carries"
    table = flags_of(version)
    if table is None:
        return (
            None,
            f"not checked: no flags are known of vLLM {version}, only of {', '.join(versions()[-4:])} and older ones",
        )
    return table, ""


@dataclass(frozen=True)
class Engine:
    """One model against one instance type, as the rendered pod would run it."""

    model: Model
    inspection: HubInspection
    instance: InstanceType
    documents: Sequence[Document] = field(repr=False)

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        return tuple(container_of(self.documents)[1]["args"])

    @cached_property
    def settings(self) -> Settings:
        return settings_of(self.arguments)

    @cached_property
    def config(self) -> Config:
        return read_config(self.inspection.config, self.settings.overrides)

    @cached_property
    def gpu(self) -> Gpu:
        return gpu_of(self.instance.gpu_name, self.instance.gpu_memory)

    @cached_property
    def flags(self) -> tuple[FlagTable | None, str]:
        return table_of(self.model.engine.image)

    @cached_property
    def models(self) -> EngineModels | None:
        table = self.flags[0]
        return models_of(table.version) if table else None

    @property
    def version(self) -> str:
        return vllm_version(self.model.engine.image) or LATEST

    @property
    def stored(self) -> Mapping[str, int]:
        """Bytes of the weights by dtype; of weights without a header, the files' bytes as they are."""
        return self.inspection.tensor_bytes or {"U8": self.inspection.weight_bytes}

    def plan(self) -> Plan:
        """What one GPU holds. Raises Unsaid."""
        rules = self.models.rope_not_scaled if self.models else NOT_SCALED
        longest = length_of(self.config, self.settings, rules, self.inspection.sentence_length).tokens
        return plan(
            self.config,
            self.stored,
            self.settings,
            self.gpu,
            longest=None if longest == float("inf") else int(longest),
        )

    def repo(self) -> Row:
        return judge_repo(self.inspection)

    def tokenizer(self) -> Row:
        line = CommandLine(self.arguments)
        if line.text("--tokenizer") or line.switch("--skip-tokenizer-init"):
            return Row("ok", "set in engine.extra_args")
        return judge_tokenizer(
            self.inspection,
            self.config,
            self.models,
            endpoint=self.model.route,
            template_given=bool(line.text("--chat-template")),
            template_file=of_repo(self.model.engine.chat_template),
        )

    def architecture(self) -> Row:
        return judge_architecture(
            self.config,
            self.models,
            self.flags[1] or f"not checked: no architectures are known of vLLM {self.version}",
            trust_remote_code=self.settings.trust_remote_code,
            pooling=self.settings.pooling,
            task=self.model.engine.task,
            files=[file.path for file in self.inspection.model.files],
        )

    def memory(self) -> Row:
        """Weights, KV cache and the rest against one GPU."""
        if not self.instance.gpus:
            return Row("fail", f"{self.instance.name} has no GPU", "set cluster.gpu.instance_type")
        try:
            needs = self.plan()
        except Unsaid as missing:
            return self._weights_alone(f"config.json does not say {missing}")
        told = f"{self.instance.gpu_name} ({human_bytes(self.gpu.memory)}): {needs}"
        if not needs.fits and not needs.may_fit:
            return Row("fail", told, remedy(needs, self.stored, self.instance))
        if not needs.fits:
            return Row(
                "warn",
                f"{told}: close, vLLM's own start-up run decides",
                remedy(needs, self.stored, self.instance),
            )
        if needs.unknown:
            return Row("warn", f"{told}; not known here: {'; '.join(needs.unknown)}")
        return Row("ok", told)

    def _weights_alone(self, why: str) -> Row:
        """Without the sizes of config.json: refuse weights that cannot fit, else say what was not judged."""
        settings = self.settings
        even = share(sum(self.stored.values()), None, settings, 2).total
        budget = int(self.gpu.memory * settings.utilization)
        if even >= budget:
            return Row(
                "fail",
                f"{self.instance.gpu_name}: {human_bytes(even)} weights of {human_bytes(budget)} a GPU",
                "take a larger GPU, more of them (engine.tensor_parallel_size) or a quantised model",
            )
        return Row(
            "warn", f"{why}: not judged but for {human_bytes(even)} weights of {human_bytes(budget)} a GPU"
        )

    def context(self) -> Row:
        rules = self.models.rope_not_scaled if self.models else NOT_SCALED
        return judge_context(
            self.config,
            self.settings,
            self.version,
            rules,
            self.inspection.sentence_length,
            longer=self.model.engine.env.get(ALLOW_LONGER) == "1",
        )

    def lint(self) -> Row:
        """Every argument of the serving container, as its image's vLLM would read it."""
        table, unchecked = self.flags
        if table is None:
            return Row(
                "warn", unchecked, "name the image by vllm/vllm-openai:vVERSION, with or without its digest"
            )
        arguments = self.arguments
        ours = arguments[: len(arguments) - len(self.model.engine.extra_args)]
        own = frozenset(
            table.name.get(one.flag, one.flag) for one in given(ours, table) if isinstance(one, Given)
        )
        found = [
            *lint(arguments, table, own),
            *judge_values(arguments, table, self.models),
            *judge_draft(arguments, [file.path for file in self.inspection.model.files]),
            *judge_variables(self.model.engine.env, self.models),
        ]
        wrong, going = [f for f in found if f.fatal], [f for f in found if not f.fatal]
        told = "; ".join(map(str, wrong or going))
        mend = f"mend engine in models/{self.model.name}.yaml"
        if wrong:
            return Row("fail", told, f"{mend}, or engine.image")
        count = sum(isinstance(one, Given) for one in given(arguments, table))
        said = f"{count} flags, all known to vLLM {table.version}"
        return Row("warn", f"{said}; {told}", mend) if going else Row("ok", said)

    def compute(self) -> Row:
        """Processor, quantisation, dtype and the KV cache's dtype against the instance."""
        gpu, settings = self.gpu, self.settings
        if found := _processor(self.instance):
            return found
        if gpu.capability is None:
            return Row(
                "warn", f"not checked: the compute capability of {self.instance.gpu_name} is not known here"
            )
        known = vllm_version(self.model.engine.image)
        if known and gpu.capability < (least := least_capability(known)):
            return Row(
                "fail",
                f"{gpu.name} has compute capability {shown(gpu.capability)}, the image of vLLM {known} has no kernels "
                f"for less than {shown(least)}",
                "take a newer GPU (cluster.gpu.instance_type: g5.2xlarge has an A10G, 8.6)",
            )
        dtype = served_dtype(self.config, settings, gpu.capability, self.inspection.tensor_bytes)
        verdicts = judge_dtype(self.config, settings, gpu.name, gpu.capability, dtype)
        said = f"{gpu.name} has compute capability {shown(gpu.capability)}; {dtype}"
        if quantised := quantization_of(settings, self.config):
            table, unchecked = self.flags
            said += f", {quantised.method} ({quantised.source})" + (f" {unchecked}" if table is None else "")
            verdicts.append(
                Verdict(unchecked, "", fatal=False)
                if table is None
                else judge_quantization(
                    quantised, settings.quantization, dtype, gpu.capability, gpu.name, table
                )
            )
        return row_of(verdicts, said)

    def ranks(self) -> Row:
        """Parallel ranks against GPUs, heads, widths and shared memory."""
        pod, _ = container_of(self.documents)
        shm = any(
            (volume.get("emptyDir") or {}).get("medium") == "Memory" for volume in pod.get("volumes") or ()
        )
        pipelines = None
        if self.models and self.models.known(self.config.architecture):
            pipelines = self.config.architecture not in self.models.unsplit
        settings = self.settings
        verdicts = judge_ranks(
            self.config,
            quantization_of(settings, self.config),
            settings,
            gpus=self.model.resources.gpu,
            has_shm=shm,
            pipelines=pipelines,
        )
        return row_of(verdicts, self._shared_out(settings))

    def _shared_out(self, settings: Settings) -> str:
        if settings.gpus == 1:
            return "1 GPU"
        said = f"{settings.gpus} GPU: " + " x ".join(
            f"{name} {size}"
            for name, size in (
                ("tensor", settings.tensor),
                ("pipeline", settings.pipeline),
                ("data", settings.data),
            )
            if size > 1
        )
        try:
            heads = f", {self.config.heads} attention and {self.config.kv_heads} key-value heads"
        except Unsaid:
            heads = ""
        return f"{said}{heads}, /dev/shm is there"


def _processor(instance: InstanceType) -> Row | None:
    if not instance.architectures or "x86_64" in instance.architectures:
        return None
    return Row(
        "fail",
        f"{instance.name} has {'/'.join(instance.architectures)} processors; the GPU node group is AL2023_x86_64_NVIDIA and "
        "the vLLM image is amd64",
        "set cluster.gpu.instance_type to a type with x86_64 processors: g4dn.2xlarge has the same GPU, g5, g6 and g6e newer ones",
    )
