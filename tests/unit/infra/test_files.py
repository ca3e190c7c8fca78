"""What holds of the root modules as they are written, without a cloud."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acceptance.infra.conftest import COMMON
from tests.acceptance.infra.workspace import ROOTS, Cloud, copied

NAMES = ("storage", "cluster")
BLOCKS = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def written(name: str) -> str:
    return "\n".join(path.read_text() for path in sorted((ROOTS / name).glob("*.tf")))


def blocks(name: str, kind: str) -> dict[str, str]:
    return {m[2]: m[3] for m in BLOCKS.finditer(written(name)) if m[1] == kind}


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_has_a_type_and_a_description(name: str) -> None:
    for variable, body in blocks(name, "variable").items():
        assert re.search(r"^  type\s+=", body, re.MULTILINE), variable
        assert re.search(r'^  description\s+= "\S', body, re.MULTILINE), variable


@pytest.mark.parametrize("name", NAMES)
def test_every_output_has_a_description(name: str) -> None:
    for output, body in blocks(name, "output").items():
        assert re.search(r'^  description\s+= "\S', body, re.MULTILINE), output


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_used(name: str) -> None:
    text = written(name)
    assert [
        v for v in blocks(name, "variable") if not re.search(rf"\bvar\.{v}\b(?!.*error_message)", text)
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_names_every_variable_and_output(name: str) -> None:
    readme = (ROOTS / name / "README.md").read_text()
    wanted = [*blocks(name, "variable"), *blocks(name, "output")]
    assert [item for item in wanted if f"`{item}`" not in readme] == []


@pytest.mark.parametrize("name", NAMES)
def test_there_is_one_provider_and_one_path(name: str) -> None:
    text = written(name)
    assert set(re.findall(r'^\s*source\s+= "(.+)"', text, re.MULTILINE)) == {"hashicorp/aws"}
    assert "sandbox" not in text.lower()


BAD_VALUES: dict[str, dict[str, tuple[object, str]]] = {
    "storage": {
        "name": ("Slipway", "name must be 3 to 32 lower-case"),
        "bucket_name": ("with.dots", "bucket_name must be 3 to 63"),
        "kms_deletion_window_days": (3, "between 7 and 30 (a limit of KMS)"),
        "secret_recovery_window_days": (3, "a limit of Secrets Manager"),
        "abort_incomplete_upload_days": (0, "a whole number of at least 1"),
    },
    "cluster": {
        "kubernetes_version": ("1.33.1", "a minor version such as 1.33"),
        "vpc_cidr": ("10.0.0.0/24", "/16 to /20"),
        "zones": (["us-east-1a"], "two availability zones, or none"),
        "admin_principal_arns": (["arn:aws:sts::123456789012:assumed-role/a/b"], "not of a session"),
        "endpoint_public_access_cidrs": ([], "at least one IPv4 network"),
        "gpu_capacity_type": ("SPOTTY", "gpu_capacity_type must be ON_DEMAND or SPOT"),
        "gpu_taint": ({"key": "k", "value": "v", "effect": "NoSchedule"}, "gpu_taint.effect must be"),
        "gpu_volume_throughput": (2000, "between 125 and 1000 MiB/s"),
        "metadata_hop_limit": (3, "must be 1 or 2"),
        "model_kms_key_arn": ("alias/models", "not of an alias"),
    },
}
GOOD_VALUES = COMMON | {
    "kubernetes_version": "1.33",
    "model_bucket_arn": "arn:aws:s3:::models",
    "model_kms_key_arn": "arn:aws:kms:us-east-1:123456789012:key/1",
}


def refusal(name: str, folder: Path, cloud: Cloud, values: dict[str, object]) -> str:
    """What a plan with these values says before it fails, on one line and without its frame."""
    workspace = copied(name, folder, cloud.environment, values)
    backend = workspace.folder / "versions.tf"
    backend.write_text(re.sub(r'  backend "s3" \{.*?\n  \}\n', "", backend.read_text(), flags=re.DOTALL))
    workspace.init()
    text = workspace.run("plan", "-input=false", "-no-color", code=1).text
    return " ".join(text.replace("│", " ").split())


@pytest.fixture(scope="module", params=NAMES)
def refused(
    request: pytest.FixtureRequest, infra_aws: Cloud, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """(root, what terraform says to every bad value of it at once)"""
    name: str = request.param
    values = (COMMON if name == "storage" else GOOD_VALUES) | {
        v: bad for v, (bad, _) in BAD_VALUES[name].items()
    }
    return name, refusal(name, tmp_path_factory.mktemp("refused") / name, infra_aws, values)
