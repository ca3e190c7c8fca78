"""An image by its digest: `NAME:TAG@sha256:…`, so that a tag that moves moves nothing. Pure."""

from __future__ import annotations

import re

from tasks.records.model import Engine

COMMIT = re.compile(r"[0-9a-f]{40}")


def by_digest(image: str) -> bool:
    """Whether it names the very bytes."""
    return "@sha256:" in image


def written(image: str) -> str:
    """As a model's file writes it: without the digest that was resolved from its tag.

    A name that has a digest and no tag is kept whole: there the file gave the digest.
    """
    name, at, _ = image.partition("@")
    return name if at and ":" in name.rpartition("/")[2] else image


def same_engine(proven: Engine, asked: Engine) -> bool:
    """Whether a release's engine is what a model's file asks for; a tag, or an adapter's branch, stands for what it was then."""
    wanted = {lora.name: lora.revision for lora in asked.lora}
    adapters = tuple(
        lora
        if COMMIT.fullmatch(wanted.get(lora.name, ""))
        else lora.model_copy(update={"revision": wanted.get(lora.name, lora.revision)})
        for lora in proven.lora
    )
    image = proven.image if by_digest(asked.image) else written(proven.image)
    return proven.model_copy(update={"image": image, "lora": adapters}) == asked


def moved(before: str | None, now: str) -> str | None:
    """What to say where one tag meant another image before; None where it did not."""
    if not before or not (by_digest(before) and by_digest(now)) or before == now:
        return None
    if written(before) != written(now) or written(now) == now:
        return None
    old, new = (image.partition("@")[2] for image in (before, now))
    return f"the tag {written(now)} has moved: it was {old}, and is {new} now"
