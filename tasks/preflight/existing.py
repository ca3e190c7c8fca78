"""Judge what the environment says exists already: network, cluster, node group, key, buckets, Prometheus.

Everything is read and nothing is changed; each row says what to do before anything is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud import objects
from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.cloud.bucket_key import default_key
from tasks.cloud.eks_cluster import FoundCluster, read_cluster, read_node_group
from tasks.cloud.kubernetes import Cluster, connect
from tasks.cloud.prometheus import prometheus_of
from tasks.cloud.vpc import Network, read_network
from tasks.preflight.rows import Row
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError, InputError, MetricsUnavailable
from tasks.records.names import ENVIRONMENT_TAG, MANAGED_BY

# What a cluster must bring that Slipway does not install into somebody else's: EKS's add-on, and the object that tells
# one installed in another way.
NEEDED = {
    "the EBS CSI driver": ("aws-ebs-csi-driver", "storage.k8s.io/v1", "CSIDriver", None, "ebs.csi.aws.com"),
    "the Pod Identity agent": (
        "eks-pod-identity-agent",
        "apps/v1",
        "DaemonSet",
        "kube-system",
        "eks-pod-identity-agent",
    ),
    "VolumeSnapshots": (
        "snapshot-controller",
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        None,
        "volumesnapshots.snapshot.storage.k8s.io",
    ),
}

# lifecycle.preStop.sleep of k8s/serving and k8s/gateway is on by default from here:
# https://github.com/kubernetes/enhancements/issues/3960
LEAST_KUBERNETES = (1, 30)


def existing_rows(environment: Environment, aws: Aws) -> tuple[dict[str, Row], Network | None]:
    """The rows by name, and the network where it is somebody else's and can be used. Raises AccessDenied, CloudError."""
    existing, rows = environment.existing, {}
    found = read_cluster(environment.eks_cluster, aws)
    rows["cluster"] = judge_cluster(environment, found)
    usable = found if existing.cluster and rows["cluster"].status != "fail" else None
    network = None
    if existing.network and (usable or not existing.cluster):
        rows["network"], network = _network(environment, usable, aws)
    if existing.node_group and usable:
        group = read_node_group(usable.name, existing.node_group, aws)
        rows["node group"] = judge_node_group(environment, group)
    for bucket, setting, there in (
        (environment.storage.model_bucket, "model_bucket", existing.model_bucket),
        (environment.storage.state_bucket, "state_bucket", existing.state_bucket),
    ):
        if there:
            rows[setting.replace("_", " ")] = judge_bucket(
                bucket, setting, environment.region, _region(bucket, aws)
            )
    key = existing.kms_key
    if key is None and existing.model_bucket and rows["model bucket"].status == "ok":
        key = default_key(environment.storage.model_bucket, aws)
    if key:
        rows["key"] = judge_key(key, _key(key, aws))
    if usable:
        rows |= _inside(environment, usable, aws)
    return rows, network


def judge_cluster(environment: Environment, found: FoundCluster | None) -> Row:
    """The cluster of the environment's name, or the one that exists: whose it is and whether it can be used. Pure."""
    wanted, file = environment.existing.cluster, f"environments/{environment.name}.yaml"
    owner = found.tags.get(ENVIRONMENT_TAG) if found else None
    if not wanted:
        if found and owner != environment.name:
            said = f"tagged {ENVIRONMENT_TAG}={owner}" if owner else f"without the tag {ENVIRONMENT_TAG}"
            return Row(
                "fail",
                f"{found.name} exists, {said}: it is not this environment's",
                f"choose another cluster.name in {file}, or use it: existing.cluster: {found.name}",
            )
        return Row("ok", f"{environment.cluster.name} is {'this environment`s' if found else 'free'}")
    if found is None:
        return Row(
            "fail",
            f"there is no EKS cluster {wanted} in {environment.region}",
            f"aws eks list-clusters --region {environment.region}",
        )
    if owner:
        whose = "this environment" if owner == environment.name else f"the environment {owner}"
        return Row(
            "fail",
            f"{wanted} was made by {whose}, whose teardown removes it",
            f"name a cluster of your own in existing.cluster of {file}, or leave it out",
        )
    if found.status not in ("ACTIVE", "UPDATING"):
        return Row("fail", f"{wanted} is {found.status}", f"aws eks describe-cluster --name {wanted}")
    if tuple(map(int, found.version.split("."))) < LEAST_KUBERNETES:
        return Row(
            "fail",
            f"{wanted} runs Kubernetes {found.version}; what is served needs {'.'.join(map(str, LEAST_KUBERNETES))}",
            f"ask its owner to update it: aws eks update-cluster-version --name {wanted}",
        )
    return Row("ok", f"{wanted}, Kubernetes {found.version}, in {found.vpc}: used as it is")


def _network(environment: Environment, cluster: FoundCluster | None, aws: Aws) -> tuple[Row, Network | None]:
    try:
        network = read_network(
            environment.existing,
            aws,
            gpu_zone=environment.cluster.gpu.zone,
            vpc=cluster.vpc if cluster else None,
            among=cluster.subnets if cluster else (),
        )
    except InputError as error:
        return Row("fail", "; ".join([error.cause, *error.evidence]), error.next_command or ""), None
    return judge_network(network), network


def judge_network(network: Network) -> Row:
    """Private subnets are there: whether they have a way out. Pure."""
    shut = [subnet.id for subnet in network.subnets if not subnet.default_route]
    if shut:
        return Row(
            "warn",
            f"{', '.join(shut)} has no route out: images and AWS must come by endpoints of {network.vpc}",
            "aws ec2 describe-vpc-endpoints; else give it a route to a NAT or transit gateway",
        )
    told = ", ".join(f"{each.id} ({each.zone}, out by {each.default_route})" for each in network.subnets)
    return Row("ok", f"{network.vpc}: {told}")


def judge_node_group(environment: Environment, group: Mapping[str, Any] | None) -> Row:
    """Whether the pods find the nodes of a group that exists: by its label and its taint. Pure."""
    name, gpu = environment.existing.node_group, environment.cluster.gpu
    where = f"aws eks list-nodegroups --cluster-name {environment.eks_cluster}"
    if group is None:
        return Row("fail", f"there is no node group {name} in {environment.eks_cluster}", where)
    labels = dict(group.get("labels") or {})
    wrong = []
    if labels.get(gpu.label_key) != gpu.label_value:
        wrong.append(f"its nodes have no label {gpu.selector}")
    strange = [
        taint
        for taint in group.get("taints") or ()
        if (taint["key"], taint.get("value", ""), taint["effect"])
        != (gpu.taint.key, gpu.taint.value, gpu.taint.eks_effect)
    ]
    wrong += [
        f"its taint {each['key']}={each.get('value', '')}:{each['effect']} is not tolerated"
        for each in strange
    ]
    if gpu.instance_type not in (group.get("instanceTypes") or [gpu.instance_type]):
        wrong.append(f"its instance types are {', '.join(group['instanceTypes'])}, not {gpu.instance_type}")
    if wrong:
        return Row(
            "fail",
            f"{name}: {'; '.join(wrong)}",
            "set cluster.gpu (instance_type, label_key, label_value, taint) as the node group has them",
        )
    return Row("ok", f"{name}: {gpu.selector}; its size is its owner's")


def _key(key: str, aws: Aws) -> Mapping[str, Any] | None:
    with aws_errors(f"reading the key {key}"):
        try:
            found: Mapping[str, Any] = aws.client("kms").describe_key(KeyId=key)["KeyMetadata"]
        except ClientError as error:
            if error_code(error) == "NotFoundException":
                return None
            raise
    return found


def judge_key(key: str, found: Mapping[str, Any] | None) -> Row:
    """Whether a key that exists can encrypt the models. Pure."""
    if found is None:
        return Row("fail", f"there is no key {key}", "aws kms list-keys; then existing.kms_key")
    if found["KeyState"] != "Enabled":
        return Row(
            "fail",
            f"{key} is {found['KeyState']}: nothing can be read or written with it",
            f"aws kms enable-key --key-id {key}; or name another in existing.kms_key",
        )
    if found.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        return Row(
            "fail",
            f"{key} is {found['KeySpec']}: S3 takes symmetric keys",
            "name another in existing.kms_key",
        )
    return Row("ok", f"{key} is enabled")


def _region(bucket: str, aws: Aws) -> str | None:
    """The region of a bucket, "" for one of another account's, None where there is none. Raises CloudError."""
    with aws_errors(f"looking at the bucket {bucket}"):
        try:
            answer = aws.client("s3").head_bucket(Bucket=bucket)
        except ClientError as error:
            if error_code(error) in ("403", "404"):
                return "" if error_code(error) == "403" else None
            raise
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return str(headers.get("x-amz-bucket-region") or aws.region)


def judge_bucket(bucket: str, setting: str, wanted: str, region: str | None) -> Row:
    """Whether a bucket that exists can be used: `region` as S3 says it, "" for another account's. Pure."""
    if region is None:
        return Row("fail", f"there is no bucket {bucket}", f"leave existing.{setting} out: it is made then")
    if not region:
        return Row(
            "fail",
            f"{bucket} belongs to another account, or these credentials lack s3:ListBucket on it",
            f"name a bucket of this account in storage.{setting}",
        )
    if region != wanted:
        return Row(
            "fail",
            f"{bucket} is in {region}, not in {wanted}",
            f"name a bucket in {wanted} in storage.{setting}",
        )
    return Row("ok", f"{bucket} is used with its own settings, and stays")


def _inside(environment: Environment, found: FoundCluster, aws: Aws) -> dict[str, Row]:
    """The rows that the cluster's own API answers; one that fails where it cannot be reached from here."""
    try:
        with aws_errors(f"listing the add-ons of {found.name}"):
            addons = aws.client("eks").list_addons(clusterName=found.name)["addons"]
        cluster = connect(found.infrastructure(environment), aws)
        rows = {
            "cluster API": judge_needed(found, missing(cluster, addons)),
            "namespace": judge_namespace(environment, cluster.get("v1", "Namespace", environment.namespace)),
        }
    except ClusterError as error:
        return {
            "cluster API": Row(
                "fail",
                f"{found.endpoint} refuses or cannot be reached from here: {error.cause}",
                f"aws eks update-kubeconfig --name {found.name} && kubectl get nodes; then its access entries and the "
                "networks that reach its endpoint",
            )
        }
    if environment.existing.prometheus:
        rows["Prometheus"] = _prometheus(environment, cluster)
    return rows


def missing(cluster: Cluster, addons: Collection[str]) -> list[str]:
    """What the cluster lacks of NEEDED; `addons`: EKS's that it has. Raises ClusterError."""
    return [
        what
        for what, (addon, api, kind, namespace, name) in NEEDED.items()
        if addon not in addons and cluster.get(api, kind, name, namespace) is None
    ]


def judge_needed(found: FoundCluster, lacking: Sequence[str]) -> Row:
    """What somebody else's cluster must bring. Pure."""
    if lacking:
        commands = [
            f"aws eks create-addon --cluster-name {found.name} --addon-name {NEEDED[what][0]}"
            for what in lacking
        ]
        return Row("fail", f"{found.name} lacks {', '.join(lacking)}", "; ".join(commands))
    return Row("ok", f"{found.endpoint} answers, and has {', '.join(NEEDED)}")


def judge_namespace(environment: Environment, found: Mapping[str, Any] | None) -> Row:
    """A namespace of somebody else's is not served in: a teardown empties it. Pure."""
    name = environment.namespace
    if found is None or objects.labels(dict(found)).get(MANAGED_BY) == "slipway":
        return Row("ok", f"{name} is {'free' if found is None else 'Slipway`s'}")
    return Row(
        "fail",
        f"the namespace {name} exists and is not Slipway's",
        f"choose another namespace in environments/{environment.name}.yaml",
    )


def _prometheus(environment: Environment, cluster: Cluster) -> Row:
    try:
        prometheus = prometheus_of(environment, cluster)
        prometheus.instant("vector(1)")
    except MetricsUnavailable as error:
        return Row("fail", "; ".join([error.cause, *error.evidence]), error.next_command or "")
    return Row("ok", f"{prometheus.where} answers; KEDA will ask {environment.prometheus.address}")
