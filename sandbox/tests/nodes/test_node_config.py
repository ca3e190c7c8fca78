"""User data as nodeadm reads it."""

from __future__ import annotations

import base64

import pytest

from slipway_sandbox.images.karpenter.claims import Cluster, user_data
from slipway_sandbox.nodes.node_config import NoNodeConfig, kubelet_labels, read_node_config

PLAIN = """
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster: {name: mine}
  kubelet:
    config:
      registerWithTaints: [{key: gpu, value: "true", effect: NoSchedule}]
    flags: ["--node-labels=a=b,c=d", "--v=2"]
"""


def test_a_node_config_alone() -> None:
    config = read_node_config(PLAIN)
    assert (config.cluster, config.labels) == ("mine", {"a": "b", "c": "d"})
    assert config.taints == ({"key": "gpu", "value": "true", "effect": "NoSchedule"},)


def test_what_karpenter_writes_is_read() -> None:
    claim = {"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}
    cluster = Cluster("mine", "https://127.0.0.1:1", "UEVN", "10.0.0.0/16")
    config = read_node_config(
        base64.b64decode(user_data(claim, {"x": "y"}, cluster, {"maxPods": 10})).decode()
    )
    assert (config.cluster, config.labels) == ("mine", {"x": "y"})
    assert [taint["key"] for taint in config.taints] == ["karpenter.sh/unregistered", "gpu"]


def test_a_node_groups_part_needs_no_cluster() -> None:
    assert kubelet_labels(PLAIN.replace("  cluster: {name: mine}\n", "")) == {"a": "b", "c": "d"}
    assert kubelet_labels("#!/bin/bash") == {}


@pytest.mark.parametrize(
    "text",
    ["", "#!/bin/bash\necho hello", "kind: NodeConfig\nspec: {}", "MIME-Version: 1.0\n\nnothing", ": : :"],
)
def test_other_user_data_joins_no_cluster(text: str) -> None:
    with pytest.raises(NoNodeConfig):
        read_node_config(text)
