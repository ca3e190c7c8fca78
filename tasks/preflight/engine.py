"""The engine before it starts: its flags against the image's vLLM, quantisation and dtype against the GPU. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tasks.preflight import capability as gpus
from tasks.preflight.capability import Verdict
from tasks.preflight.flags import FlagTable, Given, flags_of, given, lint, versions
from tasks.preflight.images import vllm_version
from tasks.records.model import Model

Document = Mapping[str, Any]


class Row(NamedTuple):
    """What a check of the table says: status, detail, the next command."""

    status: Literal["ok", "fail", "warn"]
    detail: str
    next_command: str = ""


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


def judge_flags(model: Model, documents: Sequence[Document]) -> Row:
    """Every argument of the serving container, as its image's vLLM would read it."""
    arguments = container_of(documents)[1]["args"]
    table, unchecked = table_of(model.engine.image)
    if table is None:
        return Row(
            "warn", unchecked, "name the image by vllm/vllm-openai:vVERSION, with or without its digest"
        )
    extra = len(model.engine.extra_args)
    ours = arguments[: len(arguments) - extra]
    own = frozenset(
        table.name.get(one.flag, one.flag) for one in given(ours, table) if isinstance(one, Given)
    )
    found = lint(arguments, table, own)
    wrong, going = [f for f in found if f.fatal], [f for f in found if not f.fatal]
    told = "; ".join(map(str, wrong or going))
    if wrong:
        return Row("fail", told, f"mend engine in models/{model.name}.yaml, or engine.image")
    count = sum(isinstance(one, Given) for one in given(arguments, table))
    said = f"{count} flags, all known to vLLM {table.version}"
    return (
        Row("warn", f"{said}; {told}", f"mend engine in models/{model.name}.yaml")
        if going
        else Row("ok", said)
    )


def judge_compute(
    model: Model, documents: Sequence[Document], config: Mapping[str, Any], gpu_name: str
) -> Row:
    """Quantisation, dtype and the KV cache's dtype against the GPU."""
    capability = gpus.capability_of(gpu_name)
    if capability is None:
        return Row("warn", f"not checked: the compute capability of {gpu_name} is not known here")
    asked = gpus.asked_of(container_of(documents)[1]["args"])
    gpu = gpu_name.removeprefix("NVIDIA").strip()
    quantised = gpus.quantization_of(asked, config)
    dtype = gpus.dtype_of(asked, config, capability)
    verdicts = [gpus.judge_dtype(asked, config, capability, gpu)]
    said = f"{gpu} has compute capability {gpus.shown(capability)}; {dtype}"
    if quantised:
        table, unchecked = table_of(model.engine.image)
        said += f", {quantised[0]} ({quantised[1]})" + (f" {unchecked}" if table is None else "")
        if table is None:
            verdicts.append(Verdict(unchecked, "", fatal=False))
        else:
            verdicts.append(gpus.judge_quantization(*quantised, dtype, capability, gpu, table))
    return _row([verdict for verdict in verdicts if verdict], said)


def judge_ranks(model: Model, documents: Sequence[Document], heads: int | None) -> Row:
    """Parallel ranks against GPUs, attention heads and shared memory."""
    pod, container = container_of(documents)
    parallel = model.engine.tensor_parallel_size
    used = gpus.ranks(container["args"])
    shm = any((volume.get("emptyDir") or {}).get("medium") == "Memory" for volume in pod.get("volumes") or ())
    found = gpus.judge_ranks(
        tensor_parallel=parallel, used=used, gpus=model.resources.gpu, heads=heads, has_shm=shm
    )
    said = f"{used} GPU" + (
        f", {heads} attention heads shared out, /dev/shm is there" if parallel > 1 and heads else ""
    )
    return _row([found] if found else [], said)


def _row(verdicts: Sequence[Verdict], fine: str) -> Row:
    fatal = [verdict for verdict in verdicts if verdict.fatal]
    if chosen := fatal or verdicts:
        return Row("fail" if fatal else "warn", "; ".join(v.what for v in chosen), chosen[0].remedy)
    return Row("ok", fine)
