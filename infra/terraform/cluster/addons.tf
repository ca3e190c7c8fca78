locals {
  # Before nodes: a node without its CNI never gets ready, and the CNI's role comes through the identity agent.
  addons_before_nodes = {
    eks-pod-identity-agent = null
    vpc-cni                = jsonencode({ enableNetworkPolicy = "true" }) # off by default, and then policies are ignored
  }

  # After nodes: they are Deployments, or wait for a node, and EKS calls them degraded until one is there.
  # The snapshot-controller brings the VolumeSnapshot kinds: replicas beyond the first start on a clone of the cache.
  addons_after_nodes = toset(["coredns", "kube-proxy", "snapshot-controller"])
}

resource "aws_eks_addon" "before_nodes" {
  for_each = { for name, values in local.addons_before_nodes : name => values if local.makes_cluster == 1 }

  cluster_name                = local.cluster_name
  addon_name                  = each.key
  addon_version               = lookup(var.addon_versions, each.key, null)
  configuration_values        = each.value
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  # a pod gets its identity when it is made: the association comes first
  depends_on = [aws_eks_pod_identity_association.system]
}

resource "aws_eks_addon" "after_nodes" {
  for_each = local.makes_cluster == 1 ? local.addons_after_nodes : []

  cluster_name                = local.cluster_name
  addon_name                  = each.key
  addon_version               = lookup(var.addon_versions, each.key, null)
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  depends_on = [
    aws_eks_pod_identity_association.system,
    aws_eks_node_group.system,
  ]
}

# After the snapshot-controller: the driver's snapshotter needs the VolumeSnapshot kinds that it brings.
resource "aws_eks_addon" "ebs_csi" {
  count = local.makes_cluster

  cluster_name                = local.cluster_name
  addon_name                  = "aws-ebs-csi-driver"
  addon_version               = lookup(var.addon_versions, "aws-ebs-csi-driver", null)
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  depends_on = [aws_eks_addon.after_nodes]
}

moved {
  from = aws_eks_addon.after_nodes["aws-ebs-csi-driver"]
  to   = aws_eks_addon.ebs_csi
}
