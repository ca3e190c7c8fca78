"""How many bytes of KV cache one request needs on a GPU, and how many tokens fit. Pure.

Follows vLLM 0.32.0: `get_kv_cache_groups` and `_max_memory_usage_bytes_from_groups` in vllm/v1/core/kv_cache_utils.py,
`max_memory_usage_bytes` of each spec in vllm/v1/kv_cache_interface.py, `_align_hybrid_block_size` in
vllm/platforms/interface.py, `get_pp_indices` in vllm/distributed/utils.py. Layers of one kind form groups of equal size; every group takes
blocks from one pool, and a block is as large as the largest group's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.preflight.layers import Cache, Kind

BLOCK = 16  # tokens a block, vLLM's default


@dataclass(frozen=True)
class Page:
    """A layer's cache as blocks: `bytes` a block of `tokens` tokens; `layer` is its number in the model."""

    kind: Kind
    reach: int
    tokens: int
    bytes: int
    layer: int


@dataclass(frozen=True)
class Limits:
    """What bounds a request's blocks. `batch`: tokens a step takes; `in_flight`: tokens scheduled and not yet settled."""

    batch: int
    in_flight: int
    hybrid: bool = True
    prefix_caching: bool = True


@dataclass(frozen=True)
class Pool:
    """The groups of a model, as one pipeline stage holds them. `block`: bytes a block of the pool."""

    groups: tuple[tuple[Page, ...], ...]
    block: int
    limits: Limits

    def needed(self, tokens: int) -> int:
        """Bytes one request of so many tokens takes."""
        return self.block * sum(_blocks(group, tokens, self.limits) for group in self.groups)

    def longest(self, available: int, most: int) -> int:
        """The longest request, of at most `most` tokens, that fits; one block of the pool is never used."""
        usable, low, high = available - self.block, 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.needed(middle) <= usable:
                low = middle
            else:
                high = middle - 1
        return low


def stages(layers: int, pipeline: int) -> list[range]:
    """The layers of each pipeline stage: what is left over goes to the stages before the last."""
    sizes = [layers // pipeline] * pipeline
    for place in range(2, layers % pipeline + 2):
        sizes[-place] += 1
    ends = [sum(sizes[: i + 1]) for i in range(pipeline)]
    return [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def pools(layers: Sequence[Sequence[Cache]], pipeline: int, limits: Limits, *, latent: bool) -> list[Pool]:
    """The pool of each pipeline stage. `latent`: the attention layers are MLA."""
    groups = _groups(_pages(layers, limits, latent=latent))
    found = []
    for stage in stages(len(layers), pipeline):
        mine = tuple(tuple(page for page in group if page.layer in stage) for group in groups)
        block = max((sum(page.bytes for page in group) for group in mine), default=0)
        found.append(Pool(tuple(map(tuple, groups)), block, limits))
    return found


def bytes_per_token(layers: Sequence[Sequence[Cache]], pipeline: int) -> int:
    """Bytes each further token of a long request takes on the fullest stage.

    Windows and states do not grow; where nothing else is cached, the bytes of a token inside the window.
    """
    caches = [
        [cache for layer in stage for cache in layers[layer]] for stage in stages(len(layers), pipeline)
    ]
    growing = max(sum(c.size for c in stage if c.kind in ("full", "latent")) for stage in caches)
    return growing or max(sum(c.size for c in stage if c.kind in ("sliding", "chunked")) for stage in caches)


def _pages(layers: Sequence[Sequence[Cache]], limits: Limits, *, latent: bool) -> list[Page]:
    caches = [(number, cache) for number, layer in enumerate(layers) for cache in layer]
    attention = [cache.size for _, cache in caches if cache.kind != "state"]
    states = [cache.size for _, cache in caches if cache.kind == "state"]
    tokens = BLOCK
    if states and attention:
        align = 128 if latent else BLOCK
        tokens = max(BLOCK, align * -(-max(states) // (align * max(attention))))
    full = any(cache.kind in ("full", "latent") for _, cache in caches)
    pages = []
    for number, cache in caches:
        kind: Kind = cache.kind
        if not limits.hybrid and full and kind in ("sliding", "chunked"):
            kind = "full"
        of_block = cache.size if kind == "state" else cache.size * tokens
        reach = 0 if kind in ("full", "latent") else cache.reach
        pages.append(Page(kind, reach, tokens, of_block, number))
    return _equal_pages(pages)


def _equal_pages(pages: Sequence[Page]) -> list[Page]:
    """One size for all, unless all keep every token: by more tokens a block where that goes up evenly, else padded."""
    if len({page.bytes for page in pages}) <= 1 or all(page.kind in ("full", "latent") for page in pages):
        return list(pages)
    largest = max(page.bytes for page in pages)
    equal = []
    for page in pages:
        more = largest // page.bytes if page.kind != "state" and largest % page.bytes == 0 else 1
        equal.append(Page(page.kind, page.reach, page.tokens * more, largest, page.layer))
    return equal


def _groups(pages: Sequence[Page]) -> list[list[Page]]:
    """Pages of one kind, split so that all groups have as many layers as the smallest kind has."""
    if all(page.kind in ("full", "latent") for page in pages):
        return [list(pages)] if pages else []
    buckets: dict[tuple[Kind, int, int], list[Page]] = {}
    for page in pages:
        buckets.setdefault((page.kind, page.reach, page.tokens), []).append(page)
    sizes = [len(bucket) for bucket in buckets.values()]
    size = max(sizes) if max(sizes) < min(sizes) * 1.5 else min(sizes)
    groups = []
    for bucket in buckets.values():
        count = -(-len(bucket) // size)
        groups += [bucket[start::count] for start in range(count)]
    return groups


def _blocks(group: Sequence[Page], tokens: int, limits: Limits) -> int:
    """Blocks of one group that a request of so many tokens holds at most."""
    page = group[0]
    if page.kind == "state":
        return page.reach if limits.prefix_caching else 1
    if page.kind == "sliding":
        return -(-min(page.reach - 1 + limits.in_flight, tokens) // page.tokens) + 1
    if page.kind == "chunked":
        return -(-min(page.reach + limits.in_flight, tokens) // page.tokens)
    if page.kind == "cross":
        return -(-max(page.reach, limits.batch) // page.tokens)
    return -(-tokens // page.tokens)
