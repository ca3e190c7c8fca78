"""A chat template that a model's file names: a file of the model's repo, or one of the project, whose text goes into the release."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import jinja2.sandbox

from tasks.records.errors import InvalidDocument

OF_REPO = "repo:"
MOST_BYTES = 65_536  # Linux takes 128 KiB in one argument of a program
# transformers' own tag for training, which it knows and jinja2 does not (utils/chat_template_utils.py)
_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")


def of_repo(template: str | None) -> str | None:
    """The path in the model's repo; None where the template is not one of its files."""
    return template.removeprefix(OF_REPO) if template and template.startswith(OF_REPO) else None


def read_template(named: str, root: Path, shown_as: str) -> str:
    """The text of the project's file `named`; `repo:FILE` and a template itself as they are. Raises InvalidDocument."""
    if named.startswith(OF_REPO) or "{" in named:
        return named
    path = (root / named).resolve()
    mend = f"edit {shown_as}: engine.chat_template is a file below the project's folder, or repo:FILE of the model's repo"
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        raise InvalidDocument(f"{shown_as}: engine.chat_template: there is no {named}", next_command=mend)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"{named} is not UTF-8: {error}", next_command=f"edit {named}") from None
    if wrong := wrong_in(text):
        raise InvalidDocument(f"{named} is no chat template: {wrong}", next_command=f"edit {named}")
    return text


def wrong_in(text: str) -> str:
    """Why vLLM could not use the template; "" where it can. It is parsed as transformers does, and not run."""
    if len(text.encode()) > MOST_BYTES:
        return f"{len(text.encode()):,} bytes, and {MOST_BYTES:,} are the most"
    if "messages" not in text or "{" not in text:
        return "it does not use messages"
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        environment.parse(_GENERATION.sub("", text))
    except jinja2.TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    return ""


def argument(template: str, model_path: str) -> str:
    """vLLM's flag. Kubernetes would put variables in for $(NAME)."""
    path = of_repo(template)
    value = template.replace("$(", "$$(") if path is None else f"{model_path}/{path}"
    return f"--chat-template={value}"
