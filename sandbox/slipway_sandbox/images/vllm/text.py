"""Tokenize with the model's tokenizer and chat template; generate content from prompt and seed alone."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
import jinja2.sandbox
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

# Without ignore_eos a sequence ends after a number of tokens in this range.
NATURAL_LENGTHS: Final = (64, 512)


class TemplateRefused(ValueError):
    """The chat template is missing or refuses the messages; the client gets 400."""


class Text:
    """Encodes, decodes and renders for one model folder. Raises OSError without tokenizer.json."""

    def __init__(
        self, folder: Path, name: str, eos_token_ids: Sequence[int], template: str | None = None
    ) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise OSError(
                f"Can't load tokenizer for '{name}'. If you were trying to load it from 'https://huggingface.co/models', "
                "make sure you don't have a local directory with the same name. Otherwise, make sure "
                f"'{name}' is the correct path to a directory containing all relevant files for a tokenizer."
            )
        self.tokenizer: Any = Tokenizer.from_file(str(path))
        vocabulary: dict[str, int] = self.tokenizer.get_vocab()
        self.vocabulary_size = len(vocabulary)
        self.max_chars_per_token = max(map(len, vocabulary))
        special = {i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        self.words: tuple[int, ...] = tuple(sorted(set(vocabulary.values()) - special))
        self._settings = _tokenizer_settings(folder)
        self._name = name
        config = folder / "config.json"
        self._sees = config.is_file() and "vision_config" in json.loads(config.read_text("utf-8"))
        self._template = _compile(folder, self._settings, template)
        eos = self.tokenizer.token_to_id(_token_text(self._settings.get("eos_token")) or "</s>")
        self.eos_token_id: int | None = eos_token_ids[0] if eos_token_ids else eos

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def render(self, messages: Sequence[dict[str, Any]], *, generation_prompt: bool = True) -> str:
        """Render a conversation with the model's template. Raises TemplateRefused."""
        if not messages:
            raise TemplateRefused(
                "Cannot apply chat template to an empty conversation. Provide at least one message."
            )
        contents = [m["content"] for m in messages if isinstance(m.get("content"), list)]
        if not self._sees and any(part.get("type") == "image_url" for parts in contents for part in parts):
            raise TemplateRefused(f"{self._name} is not a multimodal model")
        if self._template is None:
            raise TemplateRefused(
                "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat "
                "template if the tokenizer does not define one."
            )
        try:
            return self._template.render(
                messages=[dict(m, content=_flatten(m.get("content"))) for m in messages],
                add_generation_prompt=generation_prompt,
                bos_token=_token_text(self._settings.get("bos_token")),
                eos_token=_token_text(self._settings.get("eos_token")),
            )
        except jinja2.TemplateError as error:
            raise TemplateRefused(str(error)) from error


def _tokenizer_settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    settings: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return settings


def _token_text(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else token or ""


def _flatten(content: Any) -> Any:
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")
    return "" if content is None else content


def _given(template: str) -> str:
    """--chat-template: a file, or the template itself (`load_chat_template` of 0.32.0). Raises ValueError."""
    path = Path(template) if not set("{}\n") & set(template) else None
    if path is None:
        return template
    if not path.exists():
        raise ValueError(
            f"The supplied chat template string ({template}) appears path-like, but doesn't exist! Tried: {template}"
        )
    return path.read_text("utf-8")


def _compile(folder: Path, settings: dict[str, Any], given: str | None) -> jinja2.Template | None:
    file = folder / "chat_template.jinja"
    source = file.read_text("utf-8") if file.is_file() else settings.get("chat_template")
    source = _given(given) if given else source
    if isinstance(source, list):  # several named templates; `default` is the chat's
        source = next((entry["template"] for entry in source if entry["name"] == "default"), None)
    if source is None:
        return None

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    return environment.from_string(source)


class Continuation:
    """The tokens after one prompt: the same for the same prompt, seed and choice in any process."""

    def __init__(self, text: Text, prompt: Sequence[int], seed: int, choice: int) -> None:
        digest = hashlib.blake2b(repr((seed, choice, tuple(prompt))).encode(), digest_size=8).digest()
        self._random = random.Random(digest)
        self._tokenizer = text.tokenizer
        self._words = text.words
        self._stream: Any = DecodeStream(skip_special_tokens=True)
        self.natural_length = self._random.randint(*NATURAL_LENGTHS)

    def next(self) -> tuple[int, str]:
        """The next token and its text, which is empty while a character's bytes are incomplete."""
        token = self._words[int(self._random.random() * len(self._words))]
        return token, self._stream.step(self._tokenizer, token) or ""
