"""Weights streamed from S3: two replicas on two nodes without a volume, a snapshot or a copy; and what was staged is checked first."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from tasks.staging.hashes import crc64nvme, encoded
from tests.support.project import BUCKET, CLUSTER, ENVIRONMENT, Project

MODEL, REPO = "tiny-streamed", "slipway/tiny-llama"
IDLE_SECONDS = 120.0


@pytest.fixture(scope="module")
def streamed(project: Project) -> Iterator[Project]:
    """The model serves with two replicas; Slipway chose to stream it."""
    file = project.home / "models" / f"{MODEL}.yaml"
    document = yaml.safe_load(file.read_text())
    document["weights"] = "auto"
    document["scaling"] = {"min_replicas": 2, "max_replicas": 2, "idle_after": "2s"}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    done = project.deploy(MODEL).succeeded()
    assert "weights: stream: up to 2 replicas: 22.9 MiB in " in done.output
    assert "objects have the size and CRC64NVME they were staged with, and there is no other" in done.output
    assert "no signed evidence of this commit yet" in done.output
    assert "warming:" not in done.output
    assert "weights streamed at " in done.output
    assert "validation: PASS" in done.output
    yield project


def pods(project: Project) -> list[dict[str, Any]]:
    selector = f"slipway.dev/model={MODEL}"
    found = project.get("/api/v1/namespaces/llm/pods", labelSelector=selector)["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def test_each_replica_streams_and_there_is_no_volume(streamed: Project) -> None:
    first, second = pods(streamed)
    assert first["spec"]["nodeName"] != second["spec"]["nodeName"]
    for pod in (first, second):
        (container,) = pod["spec"]["containers"]
        assert container["args"][0].startswith(f"s3://{BUCKET}/{REPO}/")
        assert "--load-format=runai_streamer" in container["args"]
        assert not [v for v in pod["spec"]["volumes"] if {"persistentVolumeClaim", "ephemeral"} & set(v)]
    claims = streamed.get("/api/v1/namespaces/llm/persistentvolumeclaims")["items"]
    assert not [claim for claim in claims if MODEL in claim["metadata"]["name"]]
    assert streamed.complete(MODEL)


def test_its_pods_may_read_its_repo_and_nothing_else(streamed: Project) -> None:
    eks, iam = streamed.client("eks"), streamed.client("iam")
    (found,) = eks.list_pod_identity_associations(clusterName=CLUSTER, serviceAccount=f"vllm-{MODEL}")[
        "associations"
    ]
    told = eks.describe_pod_identity_association(clusterName=CLUSTER, associationId=found["associationId"])
    role = told["association"]["roleArn"].rpartition("/")[2]
    policy = iam.get_role_policy(RoleName=role, PolicyName="read-weights")["PolicyDocument"]
    document = policy if isinstance(policy, dict) else json.loads(unquote(policy))
    by_name = {statement["Sid"]: statement for statement in document["Statement"]}
    assert listed(by_name["Read"]["Resource"]) == [f"arn:aws:s3:::{BUCKET}/{REPO}/*"]
    assert listed(by_name["Read"]["Action"]) == ["s3:GetObject"]
    assert listed(by_name["List"]["Condition"]["StringLike"]["s3:prefix"]) == [f"{REPO}/*"]


def listed(value: str | list[str]) -> list[str]:
    """IAM takes one value for a list of one."""
    return [value] if isinstance(value, str) else value


def test_a_new_release_is_rolled_out_beside_it_and_a_rollback_streams_the_old_one(streamed: Project) -> None:
    assert "validation: PASS" in streamed.deploy(MODEL, "--revision", "v1").succeeded().output
    now = {pod["spec"]["containers"][0]["args"][0] for pod in pods(streamed)}
    streamed.run("rollback", MODEL, "-e", ENVIRONMENT).succeeded()
    back = {pod["spec"]["containers"][0]["args"][0] for pod in pods(streamed)}
    assert len(now) == len(back) == 1
    assert now != back


def test_it_sleeps_and_wakes_without_a_volume(streamed: Project) -> None:
    end = time.monotonic() + IDLE_SECONDS
    decision = streamed.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output
    while "scaled to zero" not in decision:
        assert time.monotonic() < end, decision
        decision = streamed.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output
    assert "answers: " in streamed.run("wake", MODEL, "-e", ENVIRONMENT).succeeded().output


def test_a_second_deploy_holds_what_is_staged_to_the_signed_evidence(streamed: Project) -> None:
    done = streamed.deploy(MODEL).succeeded()
    assert "what is staged is what evidence number " in done.output


def test_wrong_bytes_of_the_right_size_are_found_before_a_pod_streams_them(streamed: Project) -> None:
    before = contents(streamed, "/config.json")
    try:
        for key, body in before.items():
            put(streamed, key, body[:-1] + b" ")
        done = streamed.deploy(MODEL)
        assert done.code != 0
        assert "is not what was staged: no pod may stream it" in done.output
        assert "config.json has CRC64NVME" in done.output
    finally:
        for key, body in before.items():
            put(streamed, key, body)
    assert streamed.complete(MODEL)


def test_weights_that_no_manifest_lists_are_refused(streamed: Project) -> None:
    added = {key.replace("config.json", "more.safetensors") for key in contents(streamed, "/config.json")}
    try:
        for key in added:
            put(streamed, key, b"more")
        done = streamed.deploy(MODEL)
        assert done.code != 0
        assert "more.safetensors is not in the manifest" in done.output
    finally:
        for key in added:
            streamed.client("s3").delete_object(Bucket=BUCKET, Key=key)


def test_a_manifest_that_was_changed_with_its_object_is_held_to_the_signed_evidence(
    streamed: Project,
) -> None:
    before = contents(streamed, "/config.json") | contents(streamed, "/.slipway/manifest.json")
    bodies = {key: body[:-1] + b" " for key, body in before.items() if key.endswith("/config.json")}
    try:
        for key, body in bodies.items():
            put(streamed, key, body)
            manifest = key.replace("/config.json", "/.slipway/manifest.json")
            document = json.loads(before[manifest])
            (file,) = (each for each in document["files"] if each["path"] == "config.json")
            file |= {"crc64nvme": encoded(crc64nvme(body)), "parts": [encoded(crc64nvme(body))]}
            put(streamed, manifest, json.dumps(document).encode())
        done = streamed.deploy(MODEL)
        assert done.code != 0
        assert "is not what evidence number " in done.output
    finally:
        for key, body in before.items():
            put(streamed, key, body)
    assert streamed.deploy(MODEL).succeeded()


def contents(project: Project, end: str) -> dict[str, bytes]:
    """The objects of each staged commit whose keys end so."""
    s3 = project.client("s3")
    objects = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{REPO}/")["Contents"]
    keys = [item["Key"] for item in objects if item["Key"].endswith(end)]
    return {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def put(project: Project, key: str, body: bytes) -> None:
    project.client("s3").put_object(
        Bucket=BUCKET, Key=key, Body=body, ChecksumCRC64NVME=encoded(crc64nvme(body))
    )


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"stream": {"memory": "4Gi"}}, "weights: stream has too little memory: stream.memory 4Gi is a part of resources.memory, 4Gi"),
        ({"engine": {"lora": [{"name": "x", "repo": "a/b"}]}}, "weights: stream is for a model without adapters"),
        ({"cache": {"snapshot": "always"}}, "weights: stream has no volume"),
    ],
)  # fmt: skip
def test_what_streaming_cannot_do_is_refused_in_the_file(
    streamed: Project, section: dict[str, Any], told: str
) -> None:
    file = streamed.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    document = yaml.safe_load(before)
    document["weights"] = "stream"
    for key, value in section.items():
        document[key] = {**document.get(key, {}), **value}
    try:
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        streamed.deploy(MODEL).refused(2, told)
    finally:
        file.write_text(before)


def test_a_model_that_streams_no_more_leaves_its_role_for_a_rollback_and_teardown_takes_it(
    streamed: Project,
) -> None:
    file = streamed.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    document = yaml.safe_load(before)
    document |= {"scaling": {"min_replicas": 1, "max_replicas": 1, "idle_after": "2s"}}
    try:
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        judged = streamed.run("preflight", MODEL, "-e", ENVIRONMENT).succeeded().output
        done = streamed.deploy(MODEL).succeeded().output
        for said in (judged, done):
            assert re.search(r"volume: one replica that stays starts seldom, \d+\.\d\d USD a month", said), (
                said
            )
        assert "validation: PASS" in done
        (pod,) = pods(streamed)
        assert pod["spec"]["containers"][0]["args"][0].startswith("/models/")
        streamed.run("rollback", MODEL, "-e", ENVIRONMENT).succeeded()
        assert {pod["spec"]["containers"][0]["args"][0][:5] for pod in pods(streamed)} == {"s3://"}
        assert streamed.complete(MODEL)
    finally:
        file.write_text(before)
    streamed.run("teardown", "-e", ENVIRONMENT, "--models", "keep", "--volumes", "delete").succeeded()
    assert not [
        role for role in streamed.client("iam").list_roles()["Roles"] if "-stream-" in role["RoleName"]
    ]
