from __future__ import annotations

from tasks.cloud.aws import Aws


def test_a_cluster_token_is_a_presigned_url_that_names_the_cluster(stage_aws: Aws) -> None:
    import base64

    kind, _, payload = stage_aws.eks_token("slipway-staging").partition(".")
    url = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
    assert kind == "k8s-aws-v1"
    assert "Action=GetCallerIdentity" in url
    assert "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id" in url
    assert "=" not in payload
