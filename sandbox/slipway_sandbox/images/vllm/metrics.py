"""Write vLLM's /metrics page: names, help, labels, order and buckets of 0.32.0, from a table.

Not prometheus_client: a scrape must take under a millisecond, or it shows in the streams' timing.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"
REJECTIONS: Final = ("max_num_queued_reqs", "max_num_queued_tokens")
FINISHED: Final = ("stop", "length", "abort", "error", "repetition")

_TOKENS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_REQUEST: Final = (
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)  # fmt: skip
_TTFT: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
_TOKEN_TIME: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
)  # fmt: skip

# name, help, the values of one more label (label, values) or None. Order is the page's.
Label = tuple[str, tuple[str, ...]] | None
COUNTERS_BEFORE: Final[Sequence[tuple[str, str, Label]]] = (
    ("estimated_flops_per_gpu", "Estimated number of floating point operations per GPU (for Model Flops Utilization calculations).", None),
    ("estimated_read_bytes_per_gpu", "Estimated number of bytes read from memory per GPU (for Model Flops Utilization calculations).", None),
    ("estimated_write_bytes_per_gpu", "Estimated number of bytes written to memory per GPU (for Model Flops Utilization calculations).", None),
)  # fmt: skip
GAUGES: Final[Sequence[tuple[str, str, Label]]] = (
    ("num_requests_running", "Number of requests in model execution batches.", None),
    ("num_requests_waiting", "Number of requests waiting to be processed.", None),
    ("num_requests_waiting_by_reason", "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals vllm:num_requests_waiting.", ("reason", ("capacity", "deferred"))),
    ("engine_sleep_state", "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.", ("sleep_state", ("awake", "weights_offloaded", "discard_all"))),
    ("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", None),
)  # fmt: skip
COUNTERS: Final[Sequence[tuple[str, str, Label]]] = (
    ("prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", None),
    ("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", None),
    ("external_prefix_cache_queries", "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens.", None),
    ("external_prefix_cache_hits", "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.", None),
    ("mm_cache_queries", "Multi-modal cache queries, in terms of number of queried items.", None),
    ("mm_cache_hits", "Multi-modal cache hits, in terms of number of cached items.", None),
    ("num_preemptions", "Cumulative number of preemption from the engine.", None),
    ("prompt_tokens", "Number of prefill tokens processed.", None),
    ("prompt_tokens_by_source", "Number of prompt tokens by source.", ("source", ("local_compute", "local_cache_hit", "external_kv_transfer"))),
    ("prompt_tokens_cached", "Number of cached prompt tokens (local + external).", None),
    ("prompt_tokens_cached_by_source", "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.", ("source", ("device", "host", "p2p", "disk", "external_unspecified"))),
    ("generation_tokens", "Number of generation tokens processed.", None),
    ("request_success", "Count of successfully processed requests.", ("finished_reason", FINISHED)),
    ("admission_rejections", "Number of admission attempts rejected by a queue limit, by reason.", ("reason", REJECTIONS)),
)  # fmt: skip
HISTOGRAMS: Final[Sequence[tuple[str, str, Sequence[float]]]] = (
    ("request_prompt_tokens", "Number of prefill tokens processed.", _TOKENS),
    ("request_generation_tokens", "Number of generation tokens processed.", _TOKENS),
    ("iteration_tokens_total", "Histogram of number of tokens per engine_step.", (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)),
    ("request_max_num_generation_tokens", "Histogram of maximum number of requested generation tokens.", _TOKENS),
    ("request_params_n", "Histogram of the n request parameter.", (1, 2, 5, 10, 20)),
    ("request_params_max_tokens", "Histogram of the max_tokens request parameter.", _TOKENS),
    ("time_to_first_token_seconds", "Histogram of time to first token in seconds.", _TTFT),
    ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", _TOKEN_TIME),
    ("request_time_per_output_token_seconds", "Histogram of time_per_output_token_seconds per request.", _TOKEN_TIME),
    ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", _REQUEST),
    ("request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", _REQUEST),
    ("request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", _REQUEST),
    ("request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", _REQUEST),
    ("request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", _REQUEST),
    ("request_num_preemptions", "Histogram of the number of times a request was preempted.", (1, 2, 3, 4, 5, 10, 20)),
    ("request_prefill_kv_computed_tokens", "Histogram of new KV tokens computed during prefill (excluding cached tokens).", _TOKENS),
)  # fmt: skip


def number(value: float) -> str:
    """Format a value or bucket bound as prometheus_client does: 1 is `1.0`, 1.9e9 is `1.9e+09`."""
    text = repr(float(value))
    mantissa = text.partition(".")[0].lstrip("-")
    if "e" in text or len(mantissa) <= 6:
        return text
    digits = text.replace(".", "").lstrip("-").rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[0]}.{digits[1:] or '0'}e+{len(mantissa) - 1:02d}"


def labels(pairs: Mapping[str, str]) -> str:
    """Format labels as `{a="1",b="2"}`, sorted by name as on vLLM's page."""
    inner = ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(pairs.items()))
    return f"{{{inner}}}" if inner else ""


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Histogram:
    """A histogram; `observe(value, times)` counts one value several times."""

    def __init__(self, name: str, bounds: Sequence[float], pairs: Mapping[str, str], created: float) -> None:
        self._bounds = tuple(map(float, bounds))
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._created = created
        edges = [number(bound) for bound in self._bounds] + ["+Inf"]
        self._heads = [f"{name}_bucket{labels({**pairs, 'le': edge})} " for edge in edges]
        self._name, self._labels = name, labels(pairs)

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def samples(self) -> Iterable[str]:
        total = 0
        for head, count in zip(self._heads, self._counts, strict=True):
            total += count
            yield head + number(total)
        yield f"{self._name}_count{self._labels} {number(total)}"
        yield f"{self._name}_sum{self._labels} {number(self._sum)}"

    def created(self) -> str:
        return f"{self._name}_created{self._labels} {number(self._created)}"


def family(name: str, text: str, kind: str, samples: Iterable[str]) -> Iterable[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    yield from samples


class EngineMetrics:
    """The engine's metrics. Counters and gauges are keyed by name (without `vllm:`) and one label's value."""

    def __init__(
        self, model_name: str, cache_config: Mapping[str, str], now: Callable[[], float] = time.time
    ) -> None:
        self._pairs = {"engine": "0", "model_name": model_name}
        self._cache = labels({**cache_config, "engine": "0"})
        self._created = now()
        self.counters: dict[tuple[str, str], float] = {}
        self.gauges: dict[tuple[str, str], float] = {("engine_sleep_state", "awake"): 1.0}
        self.histograms = {
            name: Histogram(f"vllm:{name}", bounds, self._pairs, self._created)
            for name, _, bounds in HISTOGRAMS
        }

    def count(self, name: str, amount: float = 1.0, label: str = "") -> None:
        self.counters[name, label] = self.counters.get((name, label), 0.0) + amount

    def observe(self, name: str, value: float, times: int = 1) -> None:
        self.histograms[name].observe(value, times)

    def page(self) -> Iterable[str]:
        for name, text, label in COUNTERS_BEFORE:
            yield from self._counter(name, text, label)
        for name, text, label in GAUGES:
            values = self._series(f"vllm:{name}", name, label, self.gauges)
            yield from family(f"vllm:{name}", text, "gauge", values)
        for name, text, label in COUNTERS:
            yield from self._counter(name, text, label)
        for name, text, _ in HISTOGRAMS:
            histogram = self.histograms[name]
            yield from family(f"vllm:{name}", text, "histogram", histogram.samples())
            yield from family(f"vllm:{name}_created", text, "gauge", [histogram.created()])
        info = "Information of the LLMEngine CacheConfig"
        yield from family(
            "vllm:cache_config_info", info, "gauge", [f"vllm:cache_config_info{self._cache} 1.0"]
        )

    def _counter(self, name: str, text: str, label: Label) -> Iterable[str]:
        totals = self._series(f"vllm:{name}_total", name, label, self.counters)
        yield from family(f"vllm:{name}_total", text, "counter", totals)
        keys = [(name, value) for value in (label[1] if label else ("",))]
        created = self._series(f"vllm:{name}_created", name, label, dict.fromkeys(keys, self._created))
        yield from family(f"vllm:{name}_created", text, "gauge", created)

    def _series(
        self, series: str, name: str, label: Label, values: Mapping[tuple[str, str], float]
    ) -> Iterable[str]:
        pairs = self._pairs if name != "admission_rejections" else {"model_name": self._pairs["model_name"]}
        if label is None:
            yield f"{series}{labels(pairs)} {number(values.get((name, ''), 0.0))}"
            return
        for value in label[1]:
            yield f"{series}{labels({**pairs, label[0]: value})} {number(values.get((name, value), 0.0))}"


def process_page() -> Iterable[str]:
    """Process and Python metrics, as prometheus_client's own collectors write them."""
    stats = gc.get_stats()
    for field, text in (
        ("collected", "Objects collected during gc"),
        ("uncollectable", "Uncollectable objects found during GC"),
    ):
        name = f"python_gc_objects_{field}_total"
        yield from family(
            name, text, "counter",
            (f'{name}{{generation="{i}"}} {number(s[field])}' for i, s in enumerate(stats)),
        )  # fmt: skip
    name = "python_gc_collections_total"
    collections = (f'{name}{{generation="{i}"}} {number(s["collections"])}' for i, s in enumerate(stats))
    yield from family(name, "Number of times this generation was collected", "counter", collections)
    major, minor, patch = platform.python_version_tuple()
    version = labels(
        {"implementation": platform.python_implementation(), "major": major, "minor": minor,
         "patchlevel": patch, "version": platform.python_version()}
    )  # fmt: skip
    yield from family("python_info", "Python platform information", "gauge", [f"python_info{version} 1.0"])
    stat = Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    boot = _boot_time()
    for name, text, kind, value in (
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", "gauge", float(stat[20])),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", "gauge", float(stat[21]) * resource.getpagesize()),
        ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", "gauge", boot + float(stat[19]) / ticks),
        ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", "counter", (float(stat[11]) + float(stat[12])) / ticks),
        ("process_open_fds", "Number of open file descriptors.", "gauge", float(sum(1 for _ in Path("/proc/self/fd").iterdir()))),
        ("process_max_fds", "Maximum number of open file descriptors.", "gauge", float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])),
    ):  # fmt: skip
        yield from family(name, text, kind, [f"{name} {number(value)}"])


@cache
def _boot_time() -> int:
    """The machine's boot time in seconds since the epoch."""
    lines = Path("/proc/stat").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime"))
