"""The cases of people's reports, each with its right value and how it is computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.preflight_case import judged, main

CASES = Path(__file__).with_name("cases")
GIB = 2**30


def rows(name: str) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in judged(CASES / name)["rows"]}


def failing(name: str) -> list[str]:
    return [row["name"] for row in judged(CASES / name)["rows"] if row["status"] == "fail"]


@pytest.mark.parametrize(
    ("case", "fails"),
    [
        ("01-mla-deepseek-v2-lite", []),
        ("02-sliding-gemma3-27b", []),
        ("03-gpt-oss-20b", []),
        ("05-yarn-in-config", ["context"]),
        ("05b-rope-linear", []),
        ("06-hf-overrides-yarn", []),
        ("07-kv-heads-do-not-divide", ["ranks"]),
        ("09-float32-checkpoint", []),
        ("11-arm-gpu", ["compute"]),
        ("13-lora-only", ["repo"]),
        ("16-pipeline-parallel", []),
    ],
)
def test_a_case_fails_where_it_must_and_nowhere_else(case: str, fails: list[str]) -> None:
    assert failing(case) == fails
    assert all(rows(case)[name]["next_command"] for name in fails)


def test_every_case_here_has_a_row_above() -> None:
    marks: Any = test_a_case_fails_where_it_must_and_nowhere_else
    told = {case for mark in marks.pytestmark for case, _ in mark.args[1]}
    assert {folder.name for folder in CASES.iterdir()} == told


@pytest.mark.parametrize(
    ("case", "kv_bytes", "weight_bytes"),
    [
        # 27 layers x (kv_lora_rank 512 + qk_rope_head_dim 64) x 2 B, on every rank
        ("01-mla-deepseek-v2-lite", 27 * 576 * 2, 31_412_968_448),
        # each 6th of 62 layers keeps all tokens: 10 x 2 x 16 heads x 128 x 2 B
        ("02-sliding-gemma3-27b", 10 * 8192, 54_864_813_536),
        # each 2nd of 24 layers: 12 x 2 x 8 heads x 64 x 2 B
        ("03-gpt-oss-20b", 12 * 2048, 13_758_000_000),
        # 40 layers x 2 x 10 heads x 128 x 2 B over 4 pipeline stages
        ("16-pipeline-parallel", 51_200, 29_319_000_000 // 4),
        # float32 is served as bfloat16: half the bytes
        ("09-float32-checkpoint", 524_288, 26_953_662_464 // 2),
        ("05b-rope-linear", 32 * 2 * 32 * 128 * 2, 13_481_000_000),
    ],
)
def test_the_figures_of_a_case(case: str, kv_bytes: int, weight_bytes: int) -> None:
    found = judged(CASES / case)
    assert (found["kv_bytes_per_token"], found["weights_bytes_per_gpu"]) == (kv_bytes, weight_bytes)


def test_the_sizes_that_divide_the_heads_are_named() -> None:
    row = rows("07-kv-heads-do-not-divide")["ranks"]
    assert "10 key-value heads" in row["detail"]
    assert "1, 2, 5, 10" in row["detail"]
    assert "--pipeline-parallel-size=2" in row["next_command"]


def test_what_yarn_does_not_multiply_is_said_with_what_would_raise_the_limit() -> None:
    row = rows("05-yarn-in-config")["context"]
    assert "32,768" in row["detail"]
    assert '"max_position_embeddings": 131072' in row["next_command"]


def test_an_override_without_the_positions_is_refused(tmp_path: Path) -> None:
    case = json.loads((CASES / "06-hf-overrides-yarn" / "case.json").read_text())
    config = (CASES / "06-hf-overrides-yarn" / "config.json").read_text()
    rope = '--hf-overrides={"rope_parameters":{"rope_type":"yarn","factor":4.0}}'
    folder = a_case(
        tmp_path, case | {"engine": case["engine"] | {"extra_args": [rope]}}, {"config.json": config}
    )
    assert [row["name"] for row in judged(folder)["rows"] if row["status"] == "fail"] == ["context"]


def a_case(tmp_path: Path, case: dict[str, Any], files: dict[str, str | bytes]) -> Path:
    (tmp_path / "case.json").write_text(json.dumps(case))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


LLAMA = json.dumps(
    {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 22,
        "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 2048,
        "torch_dtype": "bfloat16",
    }
)  # fmt: skip
CASE: dict[str, Any] = {"instance": "g5.2xlarge", "engine": {"max_model_len": 2048}}
FILES = {
    "config.json": 700,
    "tokenizer.json": 9_000_000,
    "tokenizer_config.json": 900,
    "chat_template.jinja": 300,
}


@pytest.mark.parametrize(
    ("files", "said", "status"),
    [
        ({"model-00001-of-00002.safetensors": GIB}, "model-00002-of-00002.safetensors", "fail"),
        ({"model.safetensors": 134}, "134 bytes: a git LFS pointer", "fail"),
        ({"llama-q4_k_m.gguf": GIB}, "one GGUF file", "fail"),
        ({"llama-q4.gguf": GIB, "llama-q8.gguf": GIB}, "2 GGUF files", "fail"),
        ({"pytorch_model.bin": GIB}, "in pickles only", "fail"),
        ({}, "no weights", "fail"),
        ({"model.safetensors": GIB, "pytorch_model.bin": GIB}, "1.0 GiB weights in 1 file", "ok"),
        (
            {"model.safetensors": GIB, "consolidated.safetensors": GIB, "original/model.safetensors": GIB},
            "1.0 GiB weights in 1 file",
            "ok",
        ),
    ],
)
def test_what_counts_as_weights(tmp_path: Path, files: dict[str, int], said: str, status: str) -> None:
    folder = a_case(tmp_path, CASE | {"files": FILES | files}, {"config.json": LLAMA})
    repo = judged(folder)["rows"][0]
    assert (repo["name"], repo["status"]) == ("repo", status)
    assert said in repo["detail"]
    assert repo["next_command"] or status == "ok"


def test_an_index_that_names_a_file_the_repo_lacks_is_refused(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})
    case = CASE | {"files": FILES | {"one.safetensors": GIB}, "weights": {"BF16": GIB}}
    folder = a_case(tmp_path, case, {"config.json": LLAMA, "model.safetensors.index.json": index})
    assert "two.safetensors" in judged(folder)["rows"][0]["detail"]


def test_a_pointer_in_the_place_of_weights_is_told_as_one(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    folder = a_case(tmp_path, CASE, {"config.json": LLAMA, "model.safetensors": pointer})
    repo = judged(folder)["rows"][0]
    assert repo["status"] == "fail"
    assert f"a git LFS pointer of {len(pointer)} bytes" in repo["detail"]


def test_a_second_copy_is_not_counted(tmp_path: Path) -> None:
    files = FILES | {"model.safetensors": GIB, "consolidated.safetensors": GIB}
    folder = a_case(tmp_path, CASE | {"files": files, "weights": {"BF16": 2 * GIB}}, {"config.json": LLAMA})
    assert judged(folder)["weights_bytes_per_gpu"] == GIB


def test_a_case_without_a_list_of_files_has_the_code_its_config_names(tmp_path: Path) -> None:
    config = json.loads(LLAMA) | {
        "model_type": "of-nobody", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "net.mine.Model"}
    }  # fmt: skip
    trusted = CASE | {"weights": {"BF16": GIB}, "engine": CASE["engine"] | {"trust_remote_code": True}}
    folder = a_case(tmp_path, trusted, {"config.json": json.dumps(config)})
    [row] = [row for row in judged(folder)["rows"] if row["name"] == "architecture"]
    assert row["status"] == "ok"
    (folder / "case.json").write_text(json.dumps(trusted | {"files": FILES | {"model.safetensors": GIB}}))
    [row] = [row for row in judged(folder)["rows"] if row["name"] == "architecture"]
    assert row["status"] == "fail"
    assert "mine.py" in row["detail"]


def test_a_width_of_each_layer_counts_as_the_widest(tmp_path: Path) -> None:
    """Gemma 3n's intermediate_size is a list of 35."""
    folder = a_case(
        tmp_path,
        CASE | {"weights": {"BF16": GIB}},
        {"config.json": json.dumps(json.loads(LLAMA) | {"intermediate_size": [4096] * 21 + [8192]})},
    )
    assert judged(folder)["kv_bytes_per_token"] == 22 * 2 * 4 * 64 * 2


def test_one_json_line_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", str(CASES / "03-gpt-oss-20b")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert set(json.loads(lines[0])) == {"case", "rows", "kv_bytes_per_token", "weights_bytes_per_gpu"}
    assert set(json.loads(lines[0])["rows"][0]) == {"name", "status", "detail", "next_command"}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("{", "case.json cannot be read"),
        ("[]", "is no JSON object"),
        ("{}", "instance is missing"),
        ('{"instance": "g5"}', "has no g5"),
        ('{"instance": "g5.xlarge", "weights": {"BF16": "x"}}', "weights.BF16: a number of bytes is wanted, not 'x'"),
        ('{"instance": "g5.xlarge", "files": 3}', "files: bytes by path, or a list of paths is wanted, not 3"),
        ('{"instance": "g5.xlarge", "engine": {"nope": 1}}', "case.json: engine.nope: Extra inputs are not permitted"),
        ('{"instance": "g5.xlarge", "resources": {"gpu": 99}}', "case.json: resources.gpu: "),
        ('{"instance": "g5.xlarge", "cluster": {"gpu": {"x": 1}}}', "case.json: cluster.gpu.x: Extra inputs"),
    ],
)  # fmt: skip
def test_a_case_that_cannot_be_read_is_told_in_one_line(
    case: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "case.json").write_text(case)
    assert main(["--json", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_a_folder_without_a_case_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", str(tmp_path)]) == 2
    assert "has no case.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_a_document_of_the_repo_that_is_no_json_fails_its_row(name: str, tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text('{"instance": "g5.xlarge", "weights": {"BF16": 1000}}')
    (tmp_path / name).write_text('{"a')
    [row] = judged(tmp_path)["rows"]
    assert (row["name"], row["status"]) == ("repo", "fail")
    assert f"{name} of " in row["detail"]


CONFIG = json.loads((CASES / "01-mla-deepseek-v2-lite" / "config.json").read_text())


@pytest.mark.parametrize("value", [None, "x", 0, -1, [], {}, 1.5, float("inf"), {"a": 1}])
@pytest.mark.parametrize("key", sorted(CONFIG))
def test_no_value_of_a_config_ends_in_a_traceback(key: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text('{"instance": "g6e.2xlarge", "weights": {"BF16": 31412968448}}')
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {key: value}))
    assert judged(tmp_path)["rows"]
