"""What a container finds: environment, volumes, mount paths, logs, credentials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway_sandbox.controllers.objects import quantity
from slipway_sandbox.nodes.kubelet.environment import expand, service_links
from slipway_sandbox.nodes.kubelet.mounts import rewrite
from tests.nodes.conftest import PYTHON, Region, eventually
from tests.nodes.test_lifecycle import shell, waits_for

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def output(region: Region, *containers: object, **spec: object) -> str:
    name = await region.run(*containers, restartPolicy="Never", **spec)  # type: ignore[arg-type]
    await region.until_phase(name, "Succeeded")
    return await region.log(name)


async def make(region: Region, kind: str, name: str, **content: object) -> None:
    body = {"metadata": {"name": name}, **content}
    await region.client.create(region.path(kind), body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/models", "/real"),
        ("--path=/models/x", "--path=/real/x"),
        ("a:/models:/b", "a:/real:/b"),
        ("s3://bucket/models/x", "s3://bucket/models/x"),
        ("/modelstore", "/modelstore"),
        ("/data/models", "/data/models"),
        ("/models-2", "/models-2"),
        ("cat '/models/a' /models", "cat '/real/a' /real"),
    ],
)
async def test_mount_paths_are_rewritten_at_path_boundaries_only(text: str, expected: str) -> None:
    assert rewrite(text, {"/models": Path("/real")}) == expected


async def test_the_longest_mount_path_wins() -> None:
    assert rewrite("/a/b/c /a/x", {"/a": Path("/1"), "/a/b": Path("/2")}) == "/2/c /1/x"


@pytest.mark.parametrize(
    ("text", "expected"), [("$(A)-$(B)", "1-$(B)"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$$", "$")]
)
async def test_variables_expand_as_the_api_says(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


@pytest.mark.parametrize(("text", "value"), [("1500m", 1.5), ("2Gi", 2**31), ("3k", 3000), ("4", 4)])
async def test_quantities_are_read(text: str, value: float) -> None:
    assert quantity(text) == value


async def test_a_service_named_vllm_makes_a_vllm_port_variable() -> None:
    service = {
        "metadata": {"name": "vllm", "namespace": "llm"},
        "spec": {"clusterIP": "127.1.100.1", "ports": [{"port": 8000}]},
    }
    assert service_links([service], "llm")["VLLM_PORT"] == "tcp://127.1.100.1:8000"
    assert service_links([service], "other") == {}


async def test_environment_comes_from_values_keys_and_fields(region: Region) -> None:
    await make(region, "configmaps", "settings", data={"COLOUR": "red", "SIZE": "big"})
    await make(region, "secrets", "keys", stringData={"token": "hidden"})
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-$(COLOUR)"},
        {"name": "T", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k", "optional": True}}},
    ]
    printed = await output(
        region,
        shell(
            'echo "$A $B $T $NS ${IP%%.*} ${GONE-unset} $SIZE"',
            env=env,
            envFrom=[{"configMapRef": {"name": "settings"}}],
        ),
    )
    assert printed == "1 1-red hidden default 127 unset big\n"


async def test_a_missing_config_map_is_a_config_error_until_it_is_there(region: Region) -> None:
    name = await region.run(
        shell("echo $A; sleep 60", envFrom=[{"configMapRef": {"name": "late"}}]), restartPolicy="Never"
    )
    await region.until(name, waits_for("CreateContainerConfigError"))
    await make(region, "configmaps", "late", data={"A": "now"})
    await region.until_phase(name, "Running")
    await eventually(lambda: region.log(name), lambda text: text == "now\n")


async def test_volumes_bring_files(region: Region) -> None:
    await make(region, "configmaps", "files", data={"a.txt": "from config\n", "b.txt": "unused"})
    await make(region, "secrets", "secret-files", stringData={"s.txt": "from secret\n"})
    volumes = [
        {"name": "config", "configMap": {"name": "files", "items": [{"key": "a.txt", "path": "deep/a"}]}},
        {
            "name": "mixed",
            "projected": {
                "sources": [
                    {"secret": {"name": "secret-files"}},
                ]
            },
        },
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]
    mounts = [
        {"name": "config", "mountPath": "/etc/config"},
        {"name": "mixed", "mountPath": "/mixed"},
        {"name": "memory", "mountPath": "/shm"},
        {"name": "config", "mountPath": "/single", "subPath": "deep/a"},
    ]
    script = "cat /etc/config/deep/a /mixed/s.txt /single; ls /etc/config; touch /shm/x"
    printed = await output(region, shell(script, volumeMounts=mounts), volumes=volumes)
    assert printed == "from config\nfrom secret\nfrom config\ndeep\n"


async def test_a_missing_secret_volume_is_a_failed_mount(region: Region) -> None:
    name = await region.run(shell("true"), volumes=[{"name": "v", "secret": {"secretName": "nowhere"}}])
    message = await region.until_event(name, "FailedMount")
    assert message == 'MountVolume.SetUp failed for volume "v" : secret "nowhere" not found'


async def test_logs_are_read_by_tail_time_and_size(region: Region) -> None:
    name = await region.run(shell("for i in 1 2 3 4; do echo line $i; done"), restartPolicy="Never")
    await region.until_phase(name, "Succeeded")
    assert await region.log(name, tailLines="2") == "line 3\nline 4\n"
    assert await region.log(name, limitBytes="8") == "line 1\nl"
    assert await region.log(name, sinceSeconds="3600") == "line 1\nline 2\nline 3\nline 4\n"
    assert (await region.log(name, tailLines="1", timestamps="true")).endswith("Z line 4\n")


async def test_the_log_of_the_run_before_is_kept(region: Region) -> None:
    name = await region.run(shell("echo run $(date +%N); exit 1"))
    await region.until(name, waits_for("CrashLoopBackOff"))
    now, before = await region.log(name), await region.log(name, previous="true")
    assert before.startswith("run ")
    assert before != now


async def test_a_pod_knows_its_place_in_the_sandbox(region: Region) -> None:
    command = ["python3", "-c", "import os, json; print('env', json.dumps(dict(os.environ)))"]
    env = json.loads((await output(region, {"image": PYTHON, "command": command})).removeprefix("env "))
    assert env["SLIPWAY_SANDBOX_CLUSTER"] == region.cluster
    assert env["SLIPWAY_SANDBOX_NODE"] == region.node
    assert env["AWS_ENDPOINT_URL"] == region.settings.aws_url
    assert env["SLIPWAY_SANDBOX_HOSTS"] == f"{region.settings.root}/clusters/{region.cluster}/hosts"
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in env
    assert "AWS_ACCESS_KEY_ID" not in env


async def test_a_pod_reaches_the_api_through_its_kubeconfig(region: Region) -> None:
    script = (
        "from kubernetes import client, config; config.load_kube_config(); "
        "print(len(client.CoreV1Api().list_node().items))"
    )
    assert int(await output(region, {"image": PYTHON, "command": ["python3", "-c", script]})) >= 1


async def test_pod_identity_gives_credentials_to_associated_service_accounts_only(region: Region) -> None:
    region.aws("eks").create_pod_identity_association(
        clusterName=region.cluster, namespace="default", serviceAccount="reader", roleArn=region.role
    )
    for account in ("reader", "other"):
        await make(region, "serviceaccounts", account)
    await region.add_on("eks-pod-identity-agent")
    script = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    with_one = {"image": PYTHON, "command": ["python3", "-c", script]}
    arn = await output(region, with_one, serviceAccountName="reader")
    assert ":assumed-role/nodes-test/eks-" in arn
    without = await region.run(with_one, restartPolicy="Never", serviceAccountName="other")
    await region.until_phase(without, "Failed")
    assert "NoCredentialsError" in await region.log(without)


async def test_without_the_agent_an_association_gives_no_credentials(region: Region) -> None:
    region.aws("eks").create_pod_identity_association(
        clusterName=region.cluster, namespace="default", serviceAccount="lonely", roleArn=region.role
    )
    await make(region, "serviceaccounts", "lonely")
    await region.add_on("eks-pod-identity-agent")
    await region.remove_add_on("eks-pod-identity-agent")
    script = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    pod = await region.run(
        {"image": PYTHON, "command": ["python3", "-c", script]},
        restartPolicy="Never",
        serviceAccountName="lonely",
    )
    await region.until_phase(pod, "Failed", 20)
    assert "CredentialRetrievalError" in await region.log(pod)
    await region.add_on("eks-pod-identity-agent")
