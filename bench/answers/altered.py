"""Twenty ways in which a release may not be what was proven: a layer, the chat template, the dtype, the context, the tokenizer."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# files of the model's folder; a bfloat16's two bytes
CONFIG, TOKENIZER, TOKENIZER_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"
WIDTH = 2
ZERO, SIGN = bytes(WIDTH), 0x80


@dataclass(frozen=True)
class Alteration:
    """One altered release: what was done to its folder, and flags that were given to its engine."""

    name: str
    change: Callable[[Path], None] = lambda folder: None
    flags: tuple[str, ...] = ()


def alterations() -> tuple[Alteration, ...]:
    """In five kinds of the issue's; `kind: what`."""
    layer = "model.layers.{}"
    return (
        Alteration("layer: attention's values of layer 0 drawn anew", on(f"{layer.format(0)}.self_attn.v_proj", anew)),
        Alteration("layer: MLP of layer 3 is zeros", on(f"{layer.format(3)}.mlp.down_proj", zeros)),
        Alteration("layer: attention's output of layer 5 with other signs", on(f"{layer.format(5)}.self_attn.o_proj", negated)),
        Alteration("layer: rows of layer 6's MLP in another order", on(f"{layer.format(6)}.mlp.up_proj", reversed_rows)),
        Alteration("layer: queries of layer 7 drawn anew", on(f"{layer.format(7)}.self_attn.q_proj", anew)),
        Alteration("layer: MLPs of layers 1 and 2 exchanged", exchanged("model.layers.1.mlp.down_proj", "model.layers.2.mlp.down_proj")),
        Alteration("template: no generation prompt", template(lambda text: text.replace("<|im_start|>assistant\n", ""))),
        Alteration("template: a system message before all", template(lambda text: "<|im_start|>system\nYou are helpful.<|im_end|>\n" + text)),
        Alteration("template: roles are not said", template(lambda text: text.replace("{{ message['role'] }}\n", ""))),
        Alteration("template: a blank after each message", template(lambda text: text.replace("<|im_end|>\n{% endfor", "<|im_end|> \n{% endfor"))),
        Alteration("dtype: float32", flags=("--dtype=float32",)),
        Alteration("dtype: float16", flags=("--dtype=float16",)),
        Alteration("context: 96 tokens", flags=("--max-model-len=96",)),
        Alteration("context: rope_theta of another length", config(rope_theta=10000.0)),
        Alteration("context: a window of 16 tokens", config(architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=16)),
        Alteration("tokenizer: ids of 200 tokens exchanged", tokenizer(exchanged_ids)),
        Alteration("tokenizer: half of the merges", tokenizer(fewer_merges)),
        Alteration("tokenizer: a blank before each text", tokenizer(lambda made: made["pre_tokenizer"].update(add_prefix_space=True))),
        Alteration("tokenizer: marks of turns are plain text", tokenizer(plain_marks)),
        Alteration("tokenizer: lower case alone", tokenizer(lambda made: made.update(normalizer={"type": "Lowercase"}))),
    )  # fmt: skip


def apart(original: Path, folder: Path) -> None:
    """A copy whose files are its own."""
    shutil.copytree(original, folder)


def template(edit: Callable[[str], str]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        edit_json(
            folder / TOKENIZER_CONFIG, lambda made: made.update(chat_template=changed(made["chat_template"]))
        )

    def changed(text: str) -> str:
        after = edit(text)
        assert after != text
        return after

    return change


def config(**over: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / CONFIG, lambda made: made.update(over))


def tokenizer(edit: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / TOKENIZER, edit)


def edit_json(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    made = json.loads(path.read_text())
    edit(made)
    path.write_text(json.dumps(made))


def exchanged_ids(made: dict[str, Any]) -> None:
    """The last two hundred merged tokens have each other's ids."""
    vocabulary = made["model"]["vocab"]
    late = sorted(vocabulary, key=vocabulary.__getitem__)[-200:]
    ids = [vocabulary[one] for one in late]
    vocabulary.update(zip(late, reversed(ids), strict=True))


def fewer_merges(made: dict[str, Any]) -> None:
    merges = made["model"]["merges"]
    del merges[len(merges) // 2 :]


def plain_marks(made: dict[str, Any]) -> None:
    made["added_tokens"] = [one for one in made["added_tokens"] if not one["content"].startswith("<|im_")]


# -- one tensor of the safetensors files (https://github.com/huggingface/safetensors#format)

Bytes = Callable[[bytes, tuple[int, ...]], bytes]


def on(name: str, edit: Bytes) -> Callable[[Path], None]:
    """`edit` gets the tensor's bytes and shape, and gives as many."""

    def change(folder: Path) -> None:
        path, start, end, shape = find(folder, f"{name}.weight")
        body = bytearray(path.read_bytes())
        after = edit(bytes(body[start:end]), shape)
        assert len(after) == end - start
        assert after != body[start:end]
        body[start:end] = after
        path.write_bytes(body)

    return change


def exchanged(one: str, other: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        first, second = (find(folder, f"{name}.weight") for name in (one, other))
        taken = [path.read_bytes()[start:end] for path, start, end, _ in (first, second)]
        for (path, start, end, _), after in zip((first, second), reversed(taken), strict=True):
            body = bytearray(path.read_bytes())
            body[start:end] = after
            path.write_bytes(body)

    return change


def find(folder: Path, name: str) -> tuple[Path, int, int, tuple[int, ...]]:
    """The file of a tensor, where in it its bytes begin and end, and its shape."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: Mapping[str, Any] = json.loads(file.read(length))
        if name in header:
            start, end = (8 + length + offset for offset in header[name]["data_offsets"])
            return path, start, end, tuple(header[name]["shape"])
    raise KeyError(name)


def zeros(body: bytes, shape: tuple[int, ...]) -> bytes:
    return bytes(len(body))


def negated(body: bytes, shape: tuple[int, ...]) -> bytes:
    after = bytearray(body)
    after[1::WIDTH] = bytes(byte ^ SIGN for byte in after[1::WIDTH])
    return bytes(after)


def anew(body: bytes, shape: tuple[int, ...]) -> bytes:
    """The same numbers in another order."""
    numbers = [body[n : n + WIDTH] for n in range(0, len(body), WIDTH)]
    random.Random(1).shuffle(numbers)
    return b"".join(numbers)


def reversed_rows(body: bytes, shape: tuple[int, ...]) -> bytes:
    row = len(body) // shape[0]
    return b"".join(body[n : n + row] for n in range(len(body) - row, -1, -row))
