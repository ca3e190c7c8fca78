"""What cannot succeed is refused with one clear error, and nothing is made for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from slipway_sandbox.testing import Faults

from tests.support.commands import ENVIRONMENT, Done, Region, edit

FAILED, ASKED_WRONGLY, PREFLIGHT = 1, 2, 3


@pytest.fixture(scope="module")
def answers(region: Region, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Done]:
    """Every command of this file, all at the same time: each has to do with itself alone."""
    a_type, a_key = broken(region, "max_model_len", "long"), broken(region, "max_model_length", 8)
    a_flag = broken(region, "extra_args", ["--disable-log-requests"])
    no_repo = choosing(region, "no-repo", repo="slipway/no-such-model")
    no_files = choosing(region, "no-files", repo="slipway/tiny-llama", allow=["*.gguf"])
    no_weights = choosing(region, "no-weights", repo="slipway/tiny-llama", allow=["*.json"])
    pickles = choosing(region, "pickles", repo="slipway/pickle-llama", ignore=["*.safetensors"])
    without_terraform = programs_but(region, "terraform", tmp_path_factory.mktemp("bin"))
    deploys: dict[str, tuple[str, str, tuple[str, ...], dict[str, str]]] = {
        "model": ("tiny-lama", ENVIRONMENT, (), {}),
        "environment": ("tiny-llama", "sandbx", (), {}),
        "type": (a_type, ENVIRONMENT, (), {}),
        "key": (a_key, ENVIRONMENT, (), {}),
        "flag": (a_flag, ENVIRONMENT, (), {}),
        "revision": ("tiny-llama", ENVIRONMENT, ("--revision", "v9"), {}),
        "no repo": (no_repo, ENVIRONMENT, (), {}),
        "no files": (no_files, ENVIRONMENT, (), {}),
        "no weights": (no_weights, ENVIRONMENT, (), {}),
        "pickles": (pickles, ENVIRONMENT, (), {}),
        "no token": ("tiny-llama-gated", ENVIRONMENT, (), {"HF_TOKEN": ""}),
        "unknown token": ("tiny-llama-gated", ENVIRONMENT, (), {"HF_TOKEN": "hf_nobody"}),
        "stranger": ("tiny-llama-gated", ENVIRONMENT, (), {"HF_TOKEN": "hf_sandbox_stranger"}),
        "too big": ("huge-llama", ENVIRONMENT, (), {}),
        "no terraform": ("tiny-llama", ENVIRONMENT, (), {"PATH": without_terraform}),
    }
    started = {
        name: region.start("deploy", model, "-e", where, *words, **variables)
        for name, (model, where, words, variables) in deploys.items()
    }
    started["scale-down"] = region.start("scale-down", "tiny-llama", "-e", ENVIRONMENT)
    return {name: Done(command.end(), command.output) for name, command in started.items()}


def broken(region: Region, key: str, value: object) -> str:
    """A model whose file says `value` for engine.`key`; its name."""
    name = f"broken-{key.replace('_', '-')}"
    file = region.home / "models" / f"{name}.yaml"
    original = (region.home / "models" / "tiny-llama.yaml").read_text()
    file.write_text(original.replace("name: tiny-llama", f"name: {name}"))
    edit(file, {"engine": {key: value}})
    return name


def choosing(region: Region, name: str, **source: object) -> str:
    """A model whose file has this `source`; its name."""
    file = region.home / "models" / f"{name}.yaml"
    original = (region.home / "models" / "tiny-llama.yaml").read_text()
    file.write_text(original.replace("name: tiny-llama", f"name: {name}"))
    edit(file, {"source": source})
    return name


def programs_but(region: Region, left_out: str, folder: Path) -> str:
    """A PATH of one folder, with every program of the usual one but `left_out`."""
    for place in map(Path, region.environment["PATH"].split(os.pathsep)):
        for program in place.iterdir() if place.is_dir() else ():
            if program.name != left_out and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return str(folder)


@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        ("model", ASKED_WRONGLY, "there is no model 'tiny-lama'; did you mean tiny-llama"),
        ("environment", ASKED_WRONGLY, "there is no environment 'sandbx'; did you mean sandbox"),
        ("type", ASKED_WRONGLY, r"models/broken-max-model-len\.yaml:\d+: engine\.max_model_len: .*'long'"),
        (
            "key",
            ASKED_WRONGLY,
            r"models/broken-max-model-length\.yaml:\d+: .*unknown key; did you mean max_model_len",
        ),
        (
            "flag",
            PREFLIGHT,
            "error: .*engine flags: --disable-log-requests is not known to vLLM 0.32.0: .*--enable-log-requests",
        ),
        ("revision", FAILED, r"error: .*no such revision\n.*v9"),
        ("no repo", FAILED, r"error: the hub has no model slipway/no-such-model .*\n.*RepoNotFound"),
        ("no files", FAILED, r"error: .* has no file to stage\n.*no allow pattern matches it"),
        ("no weights", PREFLIGHT, "error: .*has no weights among the files chosen"),
        (
            "pickles",
            PREFLIGHT,
            r"error: .*in pickles only \(pytorch_model\.bin\)(.*\n)*.*--revision refs/pr/",
        ),
        ("no token", FAILED, "error: .*gated"),
        ("unknown token", FAILED, "error: .*token"),
        ("stranger", FAILED, r"next: accept the licence"),
        ("too big", PREFLIGHT, "error: .*GPU memory"),
        ("no terraform", FAILED, "error: terraform is not on PATH"),
        ("scale-down", ASKED_WRONGLY, "error: nothing is deployed in sandbox"),
    ],
)
def test_it_is_refused_with_its_cause_and_a_next_command(
    answers: Mapping[str, Done], case: str, code: int, said: str
) -> None:
    answers[case].refused(code, said)


def test_an_account_that_may_start_no_gpu_ends_in_preflight(region: Region, faults: Faults) -> None:
    faults.set("quota-zero")
    region.deploy().refused(PREFLIGHT, "error: .*quota")


def test_nothing_was_made_by_any_of_them(answers: Mapping[str, Done], region: Region) -> None:
    mine = [{"Name": "tag:slipway:environment", "Values": [ENVIRONMENT]}]
    assert region.client("s3").list_buckets()["Buckets"] == []
    assert region.client("eks").list_clusters()["clusters"] == []
    assert region.client("ec2").describe_vpcs(Filters=mine)["Vpcs"] == []
