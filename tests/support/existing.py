"""What a platform team has already: an EKS cluster with a Prometheus and a KEDA, a key, and buckets with objects in them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from slipway_sandbox.testing import EksCluster

from tests.support.builders import ROOT
from tests.support.commands import PATIENCE
from tests.support.project import ENVIRONMENT, Project

BESIDE, SHARED = "beside", "shared"
PROMETHEUS = {
    "namespace": "o11y",
    "service": "prom-kube-prometheus-stack-prometheus",
    "monitor_labels": {"release": "prom"},
}
# in a bucket of theirs; the second is where another environment's state would be
THEIRS: Mapping[str, bytes] = {
    "reports/2026.csv": b"a,b\n1,2\n",
    "slipway/other/storage.tfstate": b'{"version": 4, "outputs": {}}',
}
NO_SUCH = ("NoSuchTagSet", "NoSuchBucketPolicy", "NoSuchLifecycleConfiguration")


def add_environment(
    home: Path, name: str, port: int, existing: Mapping[str, Any], **more: Mapping[str, Any]
) -> None:
    """An environment of its own over what exists, with names of its own; `more`: keys of its sections, or whole ones."""
    document = yaml.safe_load((home / "environments" / f"{ENVIRONMENT}.yaml").read_text())
    document |= {"name": name, "namespace": f"llm-{name}", "existing": dict(existing)}
    made = {} if "cluster" in existing else {"public_access_cidrs": ["127.0.0.0/8"]}
    document["cluster"] = {"gpu": document["cluster"]["gpu"], "name": f"slipway-{name}"} | made
    document["storage"] |= {"model_bucket": f"slipway-{name}-models", "state_bucket": f"slipway-{name}-state"}
    if existing.get("model_bucket"):
        del document["storage"]["force_destroy"]
    document["gateway"]["port"] += port
    document["tags"] = {"cost-centre": "42"}
    for section, values in more.items():
        document[section] = document.get(section, {}) | dict(values)
    (home / "environments" / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def platform_cluster(project: Project, folder: Path, *, admin: str | None = None) -> EksCluster:
    """Their cluster: system nodes, EKS's add-ons, KEDA and Prometheus under names of their own.

    `admin`: ARN of somebody else than its maker who administers it.
    """
    by_entries = {"authenticationMode": "API_AND_CONFIG_MAP"}
    made = project.sandbox.make_cluster(SHARED, accessConfig=by_entries)
    if admin:
        eks, who = project.client("eks"), {"clusterName": SHARED, "principalArn": admin}
        eks.create_access_entry(**who)
        eks.associate_access_policy(
            **who,
            policyArn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
            accessScope={"type": "cluster"},
        )
    made.add_nodes("system", "m6i.large", most=2)
    made.add_addon("aws-ebs-csi-driver", "ebs-csi-controller-sa")
    made.add_addon("eks-pod-identity-agent")
    made.add_addon("snapshot-controller")
    kubeconfig = kubeconfig_of(made, folder)
    helm_install(project, kubeconfig, "scaler", "scaling", "keda", {})
    scraping = {"prometheusSpec": {"scrapeInterval": "1s", "resources": {"requests": {"cpu": "100m"}}}}
    helm_install(project, kubeconfig, "prom", "o11y", "kube-prometheus-stack", {"prometheus": scraping})
    return made


def helm_install(
    project: Project, kubeconfig: Path, release: str, namespace: str, chart: str, values: Any
) -> None:
    file = kubeconfig.parent / f"{release}.yaml"
    file.write_text(yaml.safe_dump(values))
    where = ["--namespace", namespace, "--create-namespace", "--values", str(file)]
    helm = shutil.which("helm", path=project.environment["PATH"])
    assert helm
    done = subprocess.run(
        [helm, "upgrade", "--install", release, str(ROOT / "sandbox/charts" / chart), *where],
        env={**project.environment, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr


def kubeconfig_of(cluster: EksCluster, folder: Path) -> Path:
    described = cluster.describe()
    server = {
        "server": described["endpoint"],
        "certificate-authority-data": described["certificateAuthority"]["data"],
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": cluster.sandbox.bearer(cluster.name)}}],
        "clusters": [{"name": "c", "cluster": server}],
    }
    file = folder / "kubeconfig"
    file.write_text(json.dumps(document))
    return file


def make_key(project: Project, *, disabled: bool = False) -> str:
    """A key of theirs; its ARN."""
    kms = project.client("kms")
    tags = [{"TagKey": "owner", "TagValue": "platform"}]
    made = kms.create_key(Description="the platform team's", Tags=tags)["KeyMetadata"]
    if disabled:
        kms.disable_key(KeyId=made["KeyId"])
    return str(made["Arn"])


def make_bucket(project: Project, name: str, key: str) -> str:
    """A bucket of theirs, versioned, encrypted with `key`, tagged, and with THEIRS in it; its name."""
    s3 = project.client("s3")
    s3.create_bucket(Bucket=name)
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "owner", "Value": "platform"}]})
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    s3.put_bucket_encryption(
        Bucket=name,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": by_default}]},
    )
    for path, body in THEIRS.items():
        s3.put_object(Bucket=name, Key=path, Body=body)
    return name


def key_as_it_is(project: Project, key: str) -> dict[str, Any]:
    kms = project.client("kms")
    return {
        "about": kms.describe_key(KeyId=key)["KeyMetadata"],
        "policy": kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"],
        "tags": kms.list_resource_tags(KeyId=key)["Tags"],
    }


def bucket_as_it_is(project: Project, name: str) -> dict[str, Any]:
    """Its settings, and every version and byte of THEIRS in it."""
    s3 = project.client("s3")
    settings = {
        what: said_of(s3, getattr(s3, f"get_bucket_{what}"), name)
        for what in ("tagging", "versioning", "encryption", "policy", "lifecycle_configuration")
    }
    return settings | {
        "versions": [each for each in versions_in(project, name) if each[0] in THEIRS],
        "bodies": {key: s3.get_object(Bucket=name, Key=key)["Body"].read() for key in THEIRS},
    }


def said_of(s3: Any, read: Any, bucket: str) -> Any:
    """One setting as S3 says it, without what is of the answer itself; the error's code where there is none."""
    try:
        answer = read(Bucket=bucket)
    except s3.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        assert code in NO_SUCH, error
        return code
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def versions_in(project: Project, name: str) -> list[tuple[Any, ...]]:
    """Every version and delete marker: key, version, ETag, time."""
    found = project.client("s3").list_object_versions(Bucket=name)
    listed = [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]
    return [(each["Key"], each["VersionId"], each.get("ETag"), each["LastModified"]) for each in listed]
