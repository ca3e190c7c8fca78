"""Models of the tests' own, made of the sandbox's tiny Llama: one with four-bit weights, one that sees images."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

from slipway_sandbox.testing import make_models

AWQ, VISION = "acme/tiny-awq", "acme/tiny-vision"
GROUP = 64  # of tiny-llama's 384 and 896 columns


def make(folder: Path) -> dict[str, Path]:
    """The folders to publish, by repository."""
    tiny = make_models(folder / "made") / "tiny-llama" / "main"
    return {AWQ: _awq(tiny, folder / "awq"), VISION: _vision(tiny, folder / "vision")}


def _awq(tiny: Path, folder: Path) -> Path:
    """AutoAWQ's layout: of each linear layer qweight and qzeros as int32, eight numbers in each, and scales."""
    shutil.copytree(tiny, folder)
    shapes: dict[str, tuple[int, ...]] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with shard.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        shapes |= {name: tuple(one["shape"]) for name, one in header.items() if name != "__metadata__"}
        shard.unlink()
    (folder / "model.safetensors.index.json").unlink()
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if "_proj." not in name:
            tensors[name] = ("F16", shape)
            continue
        (rows, columns), layer = shape, name.removesuffix(".weight")
        tensors[f"{layer}.qweight"] = ("I32", (columns, rows // 8))
        tensors[f"{layer}.qzeros"] = ("I32", (columns // GROUP, rows // 8))
        tensors[f"{layer}.scales"] = ("F16", (columns // GROUP, rows))
    _write(folder / "model.safetensors", tensors)
    _change(
        folder,
        torch_dtype="float16",
        quantization_config={
            "quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"
        },
    )  # fmt: skip
    return folder


def _vision(tiny: Path, folder: Path) -> Path:
    """A config as LLaVA's, whose language model is the tiny Llama."""
    shutil.copytree(tiny, folder)
    text = json.loads((folder / "config.json").read_text())
    whole = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": 3,
        "text_config": {key: value for key, value in text.items() if key != "architectures"},
        "torch_dtype": text["torch_dtype"],
        "vision_config": {"model_type": "clip_vision_model", "hidden_size": 64, "image_size": 56, "patch_size": 14},
    }  # fmt: skip
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(whole))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor"})
    )
    return folder


def _change(folder: Path, **keys: Any) -> None:
    path = folder / "config.json"
    document = json.loads(path.read_text()) | keys
    path.unlink()  # a hard link to what another revision has too
    path.write_text(json.dumps(document))


def _write(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    """A safetensors file of zeros."""
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = {"I32": 4, "F16": 2}[dtype]
        for width in shape:
            size *= width
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
