"""A wheel made like vLLM's, small: every way its flags are made."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tools.engine_flags import read, written

FILES = {
    "vllm/config/load.py": '''
from typing import Any, Literal
Format = Literal["auto", "gguf"]
@config
class Nested:
    x: int = 1
@config
class Base:
    seed: int = 0
@config
class LoadConfig(Base):
    load_format: Format = "auto"
    name_or_format: str | Format = "auto"
    level: Literal[2, 1] = 1
    max_tokens: int = 5
    ratio: float | None = None
    eager: bool = False
    token: bool | str | None = None
    nested: Nested | None = None
    extra: dict[str, Any] | None = None
    paths: list[str] | str = ()
    old: bool = False
    """[DEPRECATED] Use `eager` instead. It will be removed in v9. More words."""
''',
    "vllm/engine/arg_utils.py": '''
from vllm.config.load import LoadConfig
GONE = "--gone is deprecated. Use --eager. And more."
def get_kwargs(cls):
    sized = {"max_tokens"}
class EngineArgs:
    @staticmethod
    def add_cli_args(parser):
        load_kwargs = get_kwargs(LoadConfig)
        seed = get_kwargs(LoadConfig)["seed"]
        parser.add_argument("--load-format", **load_kwargs["load_format"])
        parser.add_argument("--name-or-format", **load_kwargs["name_or_format"])
        parser.add_argument("--level", "-l", **load_kwargs["level"])
        parser.add_argument("--max-tokens", **{**load_kwargs["max_tokens"], "default": None})
        parser.add_argument("--ratio", **load_kwargs["ratio"])
        parser.add_argument("--eager", **load_kwargs["eager"])
        parser.add_argument("--token", **load_kwargs["token"])
        parser.add_argument("--nested", **load_kwargs["nested"])
        parser.add_argument("--extra", **load_kwargs["extra"])
        parser.add_argument("--paths", **load_kwargs["paths"])
        parser.add_argument("--old", **load_kwargs["old"])
        parser.add_argument("--seed", **seed)
        parser.add_argument("--gone", action="store_true", help=GONE)
class AsyncEngineArgs(EngineArgs):
    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--enable-log-requests", action=argparse.BooleanOptionalAction)
''',
    "vllm/entrypoints/openai/cli_args.py": '''
@config
class FrontendArgs:
    host: str | None = None
    api_key: list[str] | None = None
    allowed_origins: list[str] = ()
    @staticmethod
    def add_cli_args(parser):
        frontend_kwargs = get_kwargs(FrontendArgs)
        frontend_kwargs["allowed_origins"]["type"] = json.loads
        del frontend_kwargs["allowed_origins"]["nargs"]
        for key, value in frontend_kwargs.items():
            parser.add_argument(f"--{key.replace('_', '-')}", **value)
def make_arg_parser(parser):
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--headless", action="store_true")
    parser.add_argument("--count", type=int)
''',
    "vllm/model_executor/layers/quantization/__init__.py": '''
from typing import Literal
QuantizationMethods = Literal["awq", "other"]
def get_quantization_config(name):
    from .awq import AWQConfig
    return {"awq": AWQConfig}[name]
''',
    "vllm/model_executor/layers/quantization/awq.py": '''
class AWQConfig:
    def get_supported_act_dtypes(self):
        return [torch.half]
    @classmethod
    def get_min_capability(cls):
        return 75
''',
}  # fmt: skip


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "vllm-9.8.7-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
    return read(file)


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("boolean", ["--eager", "--enable-log-requests", "--old"]),
        ("switch", ["--gone", "--headless"]),
        ("optional", ["--token"]),
        ("integer", ["--count", "--seed"]),  # the one by hand, the other of a base class
        ("size", ["--max-tokens"]),
        ("number", ["--ratio"]),
        ("json", ["--allowed-origins", "--extra", "--nested"]),
        ("list", ["--api-key", "--paths"]),
        ("text", ["--host", "--name-or-format"]),
        ("choice", {"--level/-l": ["1", "2"], "--load-format": ["auto", "gguf"]}),
    ],
)
def test_each_flag_is_of_the_kind_vllm_makes_it(document: dict[str, Any], kind: str, flags: Any) -> None:
    assert document[kind] == flags


def test_what_vllm_says_of_a_flags_end_is_kept(document: dict[str, Any]) -> None:
    assert document["ending"] == {
        "--gone": "--gone is deprecated. Use --eager",
        "--old": "[DEPRECATED] Use `eager` instead. It will be removed in v9",
    }


def test_quantisation_methods_tell_their_minimum_themselves(document: dict[str, Any]) -> None:
    assert document["quantization"] == {"awq": {"capability": 75, "dtypes": ["float16"]}, "other": {}}


def test_the_table_says_which_wheel_it_is_of(document: dict[str, Any]) -> None:
    assert document["version"] == "9.8.7"
    assert document["source"].startswith("vllm-9.8.7-py3-none-any.whl: ")


def test_what_is_written_reads_as_the_same(document: dict[str, Any]) -> None:
    assert json.loads(written(document)) == document


def test_a_field_that_cannot_be_found_is_not_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "vllm-9.8.7-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text.replace("ratio: float", "rate: float"))
    with pytest.raises(ValueError, match=r"--ratio: LoadConfig\.ratio is not to be found"):
        read(file)
