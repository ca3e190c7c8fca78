"""What cannot succeed is refused with one clear error, and nothing is made for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from slipway_sandbox.testing import Faults

from tests.support.clouds import client_of
from tests.support.commands import Done
from tests.support.project import Project, another_environment, edit

FAILED, ASKED_WRONGLY, PREFLIGHT = 1, 2, 3
ENVIRONMENT = "refusing"
AT_ONCE = 4  # commands; each starts a Python and a Prefect client


@pytest.fixture(scope="module")
def answers(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Done]:
    """What became of each command of this file, in an environment nothing was ever deployed in."""
    another_environment(project, ENVIRONMENT)
    a_type, a_key = broken(project, "max_model_len", "long"), broken(project, "max_model_length", 8)
    a_flag = broken(project, "extra_args", ["--disable-log-requests"])
    no_repo = choosing(project, "no-repo", repo="slipway/no-such-model")
    no_files = choosing(project, "no-files", repo="slipway/tiny-llama", allow=["*.gguf"])
    no_weights = choosing(project, "no-weights", repo="slipway/tiny-llama", allow=["*.json"])
    pickles = choosing(project, "pickles", repo="slipway/pickle-llama", ignore=["*.safetensors"])
    without_terraform = programs_but(project, "terraform", tmp_path_factory.mktemp("bin"))
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
    with ThreadPoolExecutor(AT_ONCE) as several:
        answered = {
            name: several.submit(project.run, "deploy", model, "-e", where, *words, **variables)
            for name, (model, where, words, variables) in deploys.items()
        }
        answered["scale-down"] = several.submit(project.run, "scale-down", "tiny-llama", "-e", ENVIRONMENT)
        found = {name: done.result() for name, done in answered.items()}
    # `status` reads every model's file, and other tests of this project ask it
    for made in (a_type, a_key, a_flag, no_repo, no_files, no_weights, pickles):
        (project.home / "models" / f"{made}.yaml").unlink()
    return found


def broken(project: Project, key: str, value: object) -> str:
    """A model whose file says `value` for engine.`key`; its name."""
    name = f"broken-{key.replace('_', '-')}"
    file = project.home / "models" / f"{name}.yaml"
    original = (project.home / "models" / "tiny-llama.yaml").read_text()
    file.write_text(original.replace("name: tiny-llama", f"name: {name}"))
    edit(file, {"engine": {key: value}})
    return name


def choosing(project: Project, name: str, **source: object) -> str:
    """A model whose file has this `source`; its name."""
    file = project.home / "models" / f"{name}.yaml"
    original = (project.home / "models" / "tiny-llama.yaml").read_text()
    file.write_text(original.replace("name: tiny-llama", f"name: {name}"))
    edit(file, {"source": source})
    return name


def programs_but(project: Project, left_out: str, folder: Path) -> str:
    """A PATH of one folder, with every program of the usual one but `left_out`."""
    for place in map(Path, project.environment["PATH"].split(os.pathsep)):
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
        ("scale-down", ASKED_WRONGLY, "error: nothing is deployed in refusing"),
    ],
)
def test_it_is_refused_with_its_cause_and_a_next_command(
    answers: Mapping[str, Done], case: str, code: int, said: str
) -> None:
    answers[case].refused(code, said)


def test_an_account_that_may_start_no_gpu_ends_in_preflight(
    answers: Mapping[str, Done], project: Project, faults: Faults
) -> None:
    faults.set("quota-zero")
    project.run("deploy", "tiny-llama", "-e", ENVIRONMENT).refused(PREFLIGHT, "error: .*quota")


def test_buckets_of_others_are_left_byte_and_tag_by_deploy_and_teardown(
    answers: Mapping[str, Done], project: Project
) -> None:
    s3, bucket = project.client("s3"), "shared-by-others"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "Owner", "Value": "network"}]})
    s3.put_object(Bucket=bucket, Key="slipway/theirs/storage.tfstate", Body=b"theirs")
    strange = client_of(project.sandbox, "999988887777", "s3")
    strange.create_bucket(Bucket="of-another-account")
    strange.put_object(Bucket="of-another-account", Key="theirs", Body=b"theirs")
    original = (project.home / "environments" / f"{ENVIRONMENT}.yaml").read_text()
    file = project.home / "environments" / "theirs.yaml"
    file.write_text(original.replace(f"name: {ENVIRONMENT}\n", "name: theirs\n"))
    cases = {"of-another-account": "another account", bucket: "Owner=network"}
    for name, why in cases.items():
        edit(file, {"storage": {"state_bucket": name}})
        project.run("deploy", "tiny-llama", "-e", "theirs").refused(PREFLIGHT, f"error: .*{name} is .*{why}")
        teardown = ("teardown", "-e", "theirs", "--models", "delete", "--volumes", "delete")
        assert project.run(*teardown).code != 0
        edit(file, {"storage": {"state_bucket": "slipway-theirs-state", "model_bucket": name}})
        project.run("deploy", "tiny-llama", "-e", "theirs").refused(PREFLIGHT, f"error: .*{name} is .*{why}")
    file.unlink()
    for client, name in ((s3, bucket), (strange, "of-another-account")):
        [key] = [each["Key"] for each in client.list_objects_v2(Bucket=name)["Contents"]]
        assert client.get_object(Bucket=name, Key=key)["Body"].read() == b"theirs"
        client.delete_object(Bucket=name, Key=key)
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "Owner", "Value": "network"}]
    assert s3.get_bucket_versioning(Bucket=bucket).get("Status") is None
    s3.delete_bucket(Bucket=bucket)


def test_nothing_was_made_by_any_of_them(answers: Mapping[str, Done], project: Project) -> None:
    mine = [{"Name": "tag:slipway:environment", "Values": [ENVIRONMENT]}]
    buckets = [bucket["Name"] for bucket in project.client("s3").list_buckets()["Buckets"]]
    assert [name for name in buckets if ENVIRONMENT in name] == []
    assert f"slipway-{ENVIRONMENT}" not in project.client("eks").list_clusters()["clusters"]
    assert project.client("ec2").describe_vpcs(Filters=mine)["Vpcs"] == []
